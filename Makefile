# Two commands do all the set-up on a bare machine: `make demo` and `make test`. `make help` lists the rest.
# With ROS 2 sourced none of this is needed: rosdep install, colcon build, ros2 launch.

.PHONY: help env demo test lint docs lock clean distclean
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

help:
	@echo 'make demo               play a street clip into the node and write demo_output/'
	@echo 'make demo MODEL=path    the same with another ONNX model'
	@echo 'make test               all tests; the core also with NumPy 2, on Python 3.10 and with an older TensorRT-RTX'
	@echo 'make test TORCH=1       the same, and the runtimes with PyTorch (0.2 to 3 GB more to fetch)'
	@echo 'make test ARGS="..."    the same with arguments for pytest, e.g. ARGS="-k letterbox"'
	@echo 'make lint               style and types only'
	@echo 'make docs               write the generated pages of docs/ anew'
	@echo 'make env                build the environment (.venv) that the others need; they do it themselves'
	@echo 'make lock               write the lock files anew after an edit of dev/*.in'
	@echo 'make clean              remove builds, caches and results'
	@echo 'make distclean          the same and the environments'
	@echo
	@echo 'A shell to work in: source dev/env.sh. Another Python: PYTHON=python3.12 make env'

env:
	@dev/build_env.sh main

demo: env
	@dev/run python dev/demo.py $(if $(MODEL),--model "$(MODEL)") $(ARGS)

test: env
	@TORCH=$(TORCH) dev/run python dev/run_tests.py $(ARGS)

lint: env
	@dev/run python -m pytest -q test/lint

docs: env
	@dev/run python dev/generate_docs.py

lock:
	@dev/lock.sh

# The environments stay; they need nothing of .build once they are built.
clean:
	rm -rf .build build install log dist demo_output *.egg-info .pytest_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-numpy2 .venv-py310 .venv-rtx14 .venv-torch
