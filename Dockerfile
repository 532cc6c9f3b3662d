# One image for each dependency group of uv.lock:  docker build --build-arg IMAGE=train -t intermodal-train:0.1.0 .
ARG BASE=python:3.12-slim-trixie

FROM ${BASE} AS build
ARG IMAGE
ARG UV=0.13.8
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_PROJECT_ENVIRONMENT=/opt/intermodal/environment
WORKDIR /build
RUN test -n "${IMAGE}" && python3 -m pip install --no-cache-dir "uv==${UV}"
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --only-group "${IMAGE}" --no-install-project --compile-bytecode --no-cache
# src/intermodal/components and pipelines are links to these two.
COPY components ./components
COPY pipelines ./pipelines
COPY src ./src
RUN mkdir -p /opt/intermodal/src && cp -RL src/intermodal /opt/intermodal/src/intermodal && python3 -m compileall -q /opt/intermodal/src

FROM ${BASE}
ARG IMAGE
LABEL org.opencontainers.image.title="intermodal-${IMAGE}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/intermodal /opt/intermodal
# kfp's executor runs without kfp's dependencies, which only authoring needs.
ENV PATH=/opt/intermodal/environment/bin:${PATH} PYTHONPATH=/opt/intermodal/src _KFP_RUNTIME=true PYTHONUNBUFFERED=1
RUN useradd --uid 1000 --create-home intermodal
USER 1000
WORKDIR /tmp
