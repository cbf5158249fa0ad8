#   docker build -t satae .                          all commands, `train` and `demo` included (the last stage)
#   docker build -t satae-score --target score .     what production needs: neither torch nor albumentations
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/data" satae tile scene.tif
#
#   docker run --rm -p 127.0.0.1:8000:8000 --user "$(id -u):$(id -g)" -v "$PWD:/data" satae \
#       review anomalies.gpkg --host 0.0.0.0 --port 8000       the page, in this machine's browser by the link it prints
#
# The score image runs on the CPU, with ONNX Runtime for it. For CUDA without torch exchange that for
# 'onnxruntime-gpu[cuda,cudnn]'.

FROM python:3.12-slim AS base
# HOME and LOGNAME: the container may run under any --user, and libraries ask both where to keep their caches.
ENV PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PIP_CACHE_DIR=/root/.cache/pip \
    NO_ALBUMENTATIONS_UPDATE=1 \
    HOME=/tmp \
    LOGNAME=satae \
    MPLCONFIGDIR=/tmp/matplotlib
# libexpat1 is the one system library that rasterio's wheel does not bring. Debian keeps no old versions to pin.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libexpat1 \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 10001 -g 10001 /data
WORKDIR /src
COPY constraints.txt requirements-score.txt ./
# Both flavours of ONNX Runtime hold the same module: each stage installs its own.
RUN --mount=type=cache,target=/root/.cache/pip \
    sed '/^onnxruntime/d' requirements-score.txt > /tmp/base.txt \
    && pip install -c constraints.txt -r /tmp/base.txt

FROM base AS score
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY satae satae
RUN --mount=type=cache,target=/root/.cache/pip \
    sed -n 's/^onnxruntime-gpu==/onnxruntime==/p' constraints.txt > /tmp/runtime.txt \
    && pip install -r /tmp/runtime.txt \
    && pip install --no-deps .
WORKDIR /data
USER 10001:10001
ENTRYPOINT ["satae"]

FROM base AS train
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY satae satae
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt '.[review]'
WORKDIR /data
USER 10001:10001
ENTRYPOINT ["satae"]
