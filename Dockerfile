# Two images. The last stage is TensorFlow Serving with the models, for deployments by image:
#
#   docker build -t my-models .
#   docker build -t my-models --build-arg TF_SERVING_TAG=2.21.0-gpu --build-arg MODELS=models .
#   docker run -p 8500:8500 -p 8501:8501 my-models
#
# MODELS is the folder with models.config. The flags are those of docker-compose.yml, except polling, because the files of
# an image do not change. The other image contains the rawbert command, with the extras in RAWBERT:
#
#   docker build -t rawbert-gateway --target rawbert .
#   docker build -t rawbert-export --target rawbert --build-arg 'RAWBERT=.[export]' .
ARG TF_SERVING_TAG=2.21.0

FROM python:3.13-slim AS installed
ARG RAWBERT=.[gateway]
WORKDIR /source
COPY . .
RUN python -m venv /opt/rawbert && /opt/rawbert/bin/pip install --no-cache-dir "${RAWBERT}"

FROM python:3.13-slim AS rawbert
COPY --from=installed /opt/rawbert /opt/rawbert
ENV PATH=/opt/rawbert/bin:$PATH
USER 1000:1000
ENTRYPOINT ["rawbert"]

FROM tensorflow/serving:${TF_SERVING_TAG}
ARG MODELS=models
COPY deploy/serving /rawbert
COPY --chown=1000:1000 ${MODELS} /models
USER 1000:1000
EXPOSE 8500 8501
ENTRYPOINT ["/bin/sh", "/rawbert/drain.sh", "tensorflow_model_server"]
CMD ["--port=8500", \
     "--rest_api_port=8501", \
     "--monitoring_config_file=/rawbert/monitoring.config", \
     "--model_config_file=/models/models.config", \
     "--file_system_poll_wait_seconds=0", \
     "--allow_version_labels_for_unavailable_models=true", \
     "--enable_batching=true", \
     "--enable_per_model_batching_parameters=true", \
     "--enable_model_warmup=true", \
     "--enable_serialization_as_tensor_content=true", \
     "--enable_grpc_healthcheck_service=true", \
     "--grpc_max_threads=64", \
     "--grpc_channel_arguments=grpc.max_concurrent_streams=48", \
     "--num_load_threads=2", \
     "--max_num_load_retries=1", \
     "--load_retry_interval_micros=1000000"]
