CARGO ?= cargo
.PHONY: build
build:
	$(CARGO) build --release --locked -p watchbell
