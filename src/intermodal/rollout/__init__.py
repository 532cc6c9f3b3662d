"""Rolling out a model: the plan, the state, and what drives them, on any platform. `docs/explanation/rollout.md` is the design."""
