# CPU: docker build -t gpool .    GPU: docker build -t gpool --build-arg JAX='jax[cuda13]' .
# docker run --rm -v "$PWD/runs:/runs" gpool demo --workdir /runs/demo
FROM python:3.12-slim
ARG JAX=jax
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir . "$JAX" && rm -rf /src
WORKDIR /runs
ENTRYPOINT ["gpool"]
