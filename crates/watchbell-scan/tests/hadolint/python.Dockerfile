FROM python:3.12-slim AS build
ARG PIP_TOKEN
ENV DEBIAN_FRONTEND=noninteractive
WORKDIR src
RUN apt-get update && apt-get install -y gcc libpq-dev
COPY requirements.txt .
RUN pip install -r requirements.txt && \
    pip install wheel
RUN curl -sSL https://example.org/install.sh | bash
ADD app/ /app/
ADD https://example.org/model.tar.gz /models/
FROM python
COPY --from=build /app /app
COPY --from=missing /x /y
COPY --from=nginx:1.27 /etc/nginx /etc/nginx
RUN sudo pip3 install --no-cache-dir numpy==2.1.0 scipy
USER root
CMD python app.py
