ARG VERSION=9
FROM registry.access.redhat.com/ubi9:${VERSION}
RUN yum install -y httpd
RUN yum install -y httpd-2.4.57 && yum clean all
RUN dnf install -y nodejs && dnf clean all
RUN dnf -y install nodejs-20.1 python3-devel
RUN microdnf install -y tar
RUN zypper install -y curl && zypper clean
RUN zypper --non-interactive install curl=8.0
RUN zypper dist-upgrade -y
RUN rm -rf /tmp/x | true
ONBUILD RUN yum install -y extra
ONBUILD FROM scratch
USER app
