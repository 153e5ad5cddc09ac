# syntax=docker/dockerfile:1

FROM python:3.11-slim AS wheels
WORKDIR /build
COPY requirements.txt ./
# Every dependency has a wheel: nothing is compiled, and no package's own build script runs.
RUN pip wheel --no-cache-dir --only-binary :all: --no-deps --require-hashes --wheel-dir /wheels --requirement requirements.txt

FROM python:3.11-slim
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app \
    ZHINAO_STATE_DIR=/var/lib/zhinao/state \
    ZHINAO_LOG_DIR=/var/lib/zhinao/log \
    APP_DATADIR=/var/lib/zhinao/faust \
    NUMBA_CACHE_DIR=/app/.numba
# The hashes were checked when the wheels were fetched.
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-compile --no-index --no-deps /wheels/*.whl \
    && useradd --system --uid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin zhinao \
    && install --directory --owner=zhinao --group=zhinao /var/lib/zhinao /app/.numba
WORKDIR /app
COPY app.py ./
COPY models ./models
COPY geo ./geo
COPY rules ./rules
COPY streams ./streams
COPY docs/contracts/catalogue.yaml ./docs/contracts/
USER 10001
# The loops of the core as machine code, for the processor of this machine; on another they are made at the first start.
RUN python -c 'from rules.detection.detector import prepare; prepare()'
# Asks where ZHINAO_HTTP says; without it there is nobody to ask, and the container counts as healthy.
HEALTHCHECK --interval=15s --timeout=10s --retries=4 --start-period=90s \
    CMD ["python", "-m", "streams.probe"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["worker"]
