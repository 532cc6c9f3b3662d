from tests.serving.conftest import expected, models, place, served

__all__ = ["expected", "models", "place", "served"]
