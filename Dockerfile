# syntax=docker/dockerfile:1
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY proxy ./proxy
COPY policies ./policies
RUN python -m venv /opt/consentry \
 && /opt/consentry/bin/pip install --no-cache-dir --disable-pip-version-check . \
 && rm -rf /opt/consentry/lib/python*/site-packages/pip*

FROM python:${PYTHON}-slim
COPY --from=build /opt/consentry /opt/consentry
COPY policies /etc/consentry/policies
ENV PATH=/opt/consentry/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    CONSENTRY_LISTEN=0.0.0.0:6432
# By number, so that an orchestrator can see that it is not root.
USER 65532:65532
WORKDIR /tmp
EXPOSE 6432
STOPSIGNAL SIGTERM
# A live listener answers SSLRequest with S or N (protocol section 55.2.10); nothing reaches the upstream.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", "import os, socket, struct, sys; c = socket.create_connection(('127.0.0.1', int(os.environ['CONSENTRY_LISTEN'].rpartition(':')[2])), 2); c.sendall(struct.pack('!ii', 8, 80877103)); sys.exit(c.recv(1) not in (b'S', b'N'))"]
ENTRYPOINT ["consentry"]
CMD ["serve"]
