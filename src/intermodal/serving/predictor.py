"""The predictor: the KServe Python server with one SavedModel or Keras file, the same as a process of this machine and in an InferenceService.

python -m intermodal.serving.predictor --model_dir DIR --model_name NAME [--http_port 8080] [--host 0.0.0.0]

A managed endpoint gives the same in environment variables: AIP_STORAGE_URI (a directory in Cloud Storage, which is fetched first),
AIP_HTTP_PORT, and AIP_PREDICT_ROUTE and AIP_HEALTH_ROUTE, which are answered beside the protocols' own.
"""

import argparse
import asyncio
import logging
import os
import sys
import threading
import uuid
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import uvicorn
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelRepository, model_server
from kserve import logging as kserve_logging
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer
from kserve.utils.numpy_codec import from_np_dtype
from starlette.exceptions import HTTPException

from intermodal.inference.servable import load_servable, zero_row
from intermodal.runtime.errors import DataError, StoreError
from intermodal.runtime.tensorflow import tf
from intermodal.serving.connections import BODY_SECONDS, HEADER_SECONDS, MOST_CONNECTIONS, limited
from intermodal.serving.directory import model_folder
from intermodal.serving.listening import Sockets, add_options, serve_until_stopped
from intermodal.serving.log_file import log_to
from intermodal.serving.request_counts import RequestCounts
from intermodal.serving.rows import DATATYPES, RowError, columns_of_instances, columns_of_tensors

LARGEST_BODY = 64 * 2**20
#: KServe's own application loads and unloads models for anybody who asks.
_CLOSED_ROUTES = ("/v2/repository", "/openapi.json")
logger = logging.getLogger("intermodal.predictor")


class SavedModelPredictor(Model):  # type: ignore[misc]
    """Serves a SavedModel or a Keras file."""

    def __init__(self, name: str, folder: Path) -> None:
        """Name the model; `load` reads it."""
        super().__init__(name)
        self._folder = folder
        self.counts = RequestCounts()

    def load(self) -> bool:
        """Read the model, and answer a row, for the first call traces.

        Raises:
            DataError: The directory holds no model; says what is missing.
        """
        self._model = load_servable(self._folder)
        if row := self._model.example or zero_row(self._model.inputs):
            optional = [{**each, "required": False} for each in self._model.inputs]
            try:
                for _ in range(2):
                    self._model.predict(columns_of_instances([row], optional if self._model.example else self._model.inputs))
            except tf.errors.OpError as error:
                if self._model.example:
                    raise DataError(f"{self._folder}: the model cannot answer the example in signature.json ({str(error)[:300]})") from error
                logger.info("the model does not answer a row of zeros: %s", str(error)[:300])
        self.ready = True
        return True

    async def predict(self, payload: Any, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None) -> Any:
        """Return the predictions for V1 instances or for V2 tensors, in order."""
        # In a thread: other requests and the readiness probe are answered meanwhile.
        return await asyncio.to_thread(self._answer, payload)

    def _answer(self, payload: Any) -> Any:
        inputs = self._model.inputs
        try:
            if isinstance(payload, InferRequest):
                tensors = [(each.name, each.shape, each.datatype, each.data) for each in payload.inputs]
                return self._response(payload, self._predictions(columns_of_tensors(tensors, inputs)))
            return {"predictions": _as_rows(self._predictions(columns_of_instances(_instances(payload), inputs)))}
        except RowError as error:
            raise InvalidInput(str(error)) from error  # a plain ValueError would be answered with status 500

    def _predictions(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            predictions = self._model.predict(columns)
        except tf.errors.InvalidArgumentError as error:
            raise RowError(f"the model does not take these rows ({str(error)[:300]})") from error
        self.counts.predicted(predictions)
        return predictions

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the inputs as V2 metadata."""
        return [{"name": each["name"], "datatype": _datatype_of_input(each), "shape": [-1, *each.get("shape", ())]} for each in self._model.inputs]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return the outputs as V2 metadata."""
        return [{"name": name, "datatype": _datatype(dtype), "shape": [-1, *shape]} for name, (dtype, shape) in self._model.outputs.items()]

    def _response(self, request: InferRequest, predictions: dict[str, np.ndarray]) -> InferResponse:
        binary = request.use_binary_outputs
        outputs = []
        for name, values in predictions.items():
            output = InferOutput(name, list(values.shape), _datatype(values.dtype.name))
            output.set_data_from_numpy(values, binary_data=binary)
            outputs.append(output)
        return InferResponse(
            request.id or str(uuid.uuid4()), self.name, outputs, use_binary_outputs=binary, requested_outputs=request.request_outputs
        )


def _datatype(dtype: str) -> str:
    """Return the V2 name of a NumPy type."""
    return "BYTES" if dtype == "object" else str(from_np_dtype(np.dtype(dtype)))


def _datatype_of_input(described: dict[str, Any]) -> str:
    return _datatype(described["dtype"]) if "dtype" in described else DATATYPES[described["type"]][0]


def _as_rows(predictions: dict[str, np.ndarray]) -> list[Any]:
    """Return V1 predictions: the values of the one output, or an object a row where there are several."""
    columns = {name: [_text(each) for each in values.tolist()] for name, values in predictions.items()}
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(each) for each in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _instances(payload: Any) -> Any:
    if isinstance(payload, bytes):  # KServe decodes application/json alone; `curl -d` says otherwise by default
        try:
            payload = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise RowError(f"the body is not JSON ({error})") from error
    if not isinstance(payload, dict) or "instances" not in payload:
        found = f"an object with {', '.join(sorted(map(str, payload)))[:80] or 'nothing'}" if isinstance(payload, dict) else type(payload).__name__
        raise RowError(f'the body is {found}; it must be {{"instances": [{{column: value, ...}}, ...]}}')
    return payload["instances"]


class _DataPlane(DataPlane):  # type: ignore[misc]
    """KServe's, ready only with its model, and with every request that cannot be read answered as the client's error."""

    def metadata(self) -> dict[str, Any]:
        """Return the server's metadata; it has no model repository that clients could change."""
        return {**super().metadata(), "extensions": []}

    async def ready(self) -> bool:
        """Return whether there is a model, and it is ready."""
        models = self.model_registry.get_models().values()
        return bool(models) and all(each.ready for each in models)

    def decode(self, body: Any, headers: Any, *arguments: Any, **named: Any) -> Any:
        """Decode a request.

        Raises:
            InvalidInput: It cannot be read, for instance because a header or a tensor gives a wrong size.
        """
        try:
            return super().decode(body, headers, *arguments, **named)
        except InvalidInput:
            raise
        except Exception as error:  # whatever it is, it came of the client's bytes
            text = f"{type(error).__name__}: {getattr(error, 'reason', error)}"[:200]
            raise InvalidInput(f"the request cannot be read ({text}); check its headers, and the sizes of its binary tensors") from error


class _Limits:
    """ASGI: refuses a body above the limit and the routes that change the server, and has clients leave once the server drains."""

    def __init__(self, app: Any, largest_body: int, draining: threading.Event) -> None:
        self._app, self._largest, self._draining = app, largest_body, draining

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope.get("path", "").startswith(_CLOSED_ROUTES):
            await JSONResponse({"error": "there is no such route; a model is served until its server ends"}, 404)(scope, receive, send)
            return
        seen = 0

        async def limited() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._largest:
                raise HTTPException(413, f"the body is larger than {self._largest} bytes; send fewer rows a request")
            return message

        async def parting(message: Any) -> None:
            if message["type"] == "http.response.start" and self._draining.is_set():
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, limited, parting)


def _application(model: SavedModelPredictor, arguments: argparse.Namespace, draining: threading.Event) -> uvicorn.Config:
    """Return uvicorn's settings for KServe's own application with this model.

    Not `kserve.ModelServer.start`: it listens on all addresses only, and on SIGTERM unloads the model before the open requests are answered.
    """
    repository = ModelRepository()
    repository.update(model)
    rest = RESTServer("kserve.model_server:app", _DataPlane(model_registry=repository), ModelRepositoryExtension(repository), 0, grace_period=10)
    app = model_server.app
    app.add_middleware(_Limits, largest_body=arguments.largest_body, draining=draining)
    app.add_middleware(model.counts.around, arguments.predict_route)
    rest.config.http = limited(header_seconds=arguments.header_seconds, body_seconds=arguments.body_seconds, most=arguments.most_connections)
    rest.create_application()
    _add_routes(app, model, arguments.predict_route, arguments.health_route)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(InvalidInput, _invalid)
    return rest.config


def _add_routes(app: Any, model: SavedModelPredictor, predict: str | None, health: str | None) -> None:
    """Answer V1 predictions and readiness under further paths too."""

    async def answer(request: Request) -> Response:
        return Response(orjson.dumps(await model.predict(await request.body())), media_type="application/json")

    async def readiness(_: Request) -> JSONResponse:
        return JSONResponse({"name": model.name, "ready": model.ready})

    for path, method, endpoint in ((predict, "POST", answer), (health, "GET", readiness)):
        if path:  # one of the protocols' own comes before it, and answers
            app.add_route(path, endpoint, methods=[method])


async def _not_understood(_: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "InferenceRequest"))
    return JSONResponse({"error": f"the body is not a V2 request: {place}: {first['msg']}"}, 400)


async def _refused(_: Request, error: HTTPException) -> JSONResponse:
    return JSONResponse({"error": str(error.detail)}, error.status_code)


async def _invalid(_: Request, error: InvalidInput) -> JSONResponse:
    logger.info("refused: %s", error)  # KServe's own handler logs a traceback a request
    return JSONResponse({"error": str(error)}, 400)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="predictor", description="Serve a SavedModel or a Keras file over KServe's V1 and V2 protocols.", allow_abbrev=False
    )
    variable = os.environ.get
    where = "directory, or file:// or gs:// URI, of a SavedModel or a Keras file (default AIP_STORAGE_URI)"
    parser.add_argument("--model_dir", default=variable("AIP_STORAGE_URI"), required="AIP_STORAGE_URI" not in os.environ, help=where)
    parser.add_argument("--model_name", required=True, help="name in the URL")
    add_options(parser, variable("AIP_HTTP_PORT", "8080"))
    parser.add_argument("--predict_route", default=variable("AIP_PREDICT_ROUTE"), help="further path for V1 predictions (default AIP_PREDICT_ROUTE)")
    parser.add_argument("--health_route", default=variable("AIP_HEALTH_ROUTE"), help="further path that says it is ready (default AIP_HEALTH_ROUTE)")
    parser.add_argument("--largest_body", type=int, default=LARGEST_BODY, help="bytes a request may have (default 64 MiB)")
    parser.add_argument("--most_connections", type=int, default=MOST_CONNECTIONS, help=f"connections at a time (default {MOST_CONNECTIONS})")
    parser.add_argument("--header_seconds", type=float, default=HEADER_SECONDS, help=f"a request's headers may take (default {HEADER_SECONDS:g})")
    parser.add_argument("--body_seconds", type=float, default=BODY_SECONDS, help=f"between two pieces of a body (default {BODY_SECONDS:g})")
    parser.add_argument("--log", type=Path, help="file for all that is printed, rotated at 10 MB, two old ones kept (default standard error)")
    return parser.parse_args(arguments)


def main() -> int:
    """Load the model and serve it; return the exit status."""
    arguments = _parse(sys.argv[1:])
    kserve_logging.configure_logging()
    logging.basicConfig(level=logging.INFO)
    if arguments.log:
        log_to(arguments.log)
    for name in ("uvicorn.access", "kserve.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)  # a line or more a request would fill the disk
    try:
        model = SavedModelPredictor(arguments.model_name, model_folder(arguments.model_dir))
        model.load()
    except (ValueError, DataError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    draining = threading.Event()
    asyncio.run(serve_until_stopped(_application(model, arguments, draining), Sockets.of(arguments), draining))
    return 0


if __name__ == "__main__":
    sys.exit(main())
