# Every target does its own set-up: tools/setup installs what is missing (Debian, Ubuntu), as root or by sudo.
#   make run ARGS='--data /var/tmp/haar'     what stands in ARGS goes to haar serve
ARGS =
FUZZ_SECONDS = 60
# gcc's warnings are guesses where a sanitizer has rewritten the code; what a sanitizer finds ends the program. Copying no
# bytes from NULL is left alone: C2y (N3322) defines it, and so does glibc.
ASAN = -Db_sanitize=address,undefined -Db_lundef=false -Dwerror=false '-Dc_args=-fno-sanitize-recover=all -fno-sanitize=nonnull-attribute'
SOURCES = find src guest tests bench fuzz docs -name '*.[ch]'

run: build
	exec build/haar serve $(ARGS)

test: build .venv/ready
	tools/setup test
	ninja -C build
	tools/test build

bench: build .venv/ready
	tools/setup bench
	ninja -C build bench/http_floor bench/store_bench
	.venv/bin/python bench/run build/haar

build: build/build.ninja
	ninja -C build haar

fmt:
	tools/setup check
	$(SOURCES) | xargs clang-format -i

fmt-check:
	tools/setup check
	$(SOURCES) | xargs clang-format --dry-run --Werror

# clang's own build first: its warnings are errors too.
tidy: build-clang/build.ninja
	ninja -C build-clang
	tools/tidy build-clang

asan: build-asan/build.ninja .venv/ready
	ninja -C build-asan
	tools/test build-asan

fuzz: build-fuzz/build.ninja
	ninja -C build-fuzz
	tools/fuzz build-fuzz $(FUZZ_SECONDS)

example: build .venv/ready
	rm -rf build/example
	.venv/bin/python tools/try-example . build/example

# Promises broken one at a time, tests/mutations. MUTATE: words of those that are tried. Takes a while: by hand.
MUTATE =
mutate: build .venv/ready
	tools/setup test
	tools/mutate $(MUTATE)

includes:
	tools/check-includes

docs:
	python3 tools/operations.py > docs/operations.md

clean:
	rm -rf build build-asan build-clang build-fuzz

build/build.ninja:
	tools/setup build
	meson setup build

build-asan/build.ninja:
	tools/setup build
	meson setup build-asan $(ASAN)

build-clang/build.ninja:
	tools/setup build check
	CC=clang meson setup build-clang

build-fuzz/build.ninja:
	tools/setup build check
	CC=clang meson setup build-fuzz -Dfuzz=true -Db_sanitize=address -Db_lundef=false

.venv/ready: tests/requirements.txt tools/setup
	tools/setup test
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	touch $@

.PHONY: run test bench build fmt fmt-check tidy asan fuzz example includes mutate docs clean
