# Everything runs in .venv, which the first target that needs it creates; nothing but Python 3.11
# to 3.13, make and (for system libraries) apt is expected. PYTHON=/path/to/python3 names another.
PYTHON ?= python3
export PYTHON
SOURCE ?=

VENV := .venv
PIP_INPUTS := $(wildcard requirements-*.txt constraints*.txt) scripts/setup_env.py scripts/system_libraries.py
RUN := $(VENV)/bin/python
COMPAT_TESTS := test/runtime test/inference test/test_layers.py

.PHONY: help demo demo-focus demo-retrain test test-python test-compat test-compat-beside test-faults test-slow test-gpu bench bench-stereo lint train-default clean

help:
	@echo 'make demo [SOURCE=video.mp4|folder|image|/dev/video0|scene]   camera in, depth out, on real ROS 2'
	@echo 'make demo-focus     a lens that sweeps its focus, depth from its stacks, on real ROS 2'
	@echo 'make demo-retrain   a robot in a strange building records, retrains and swaps its model'
	@echo 'make test           lint, all tests, the second environment, colcon'
	@echo 'make test-faults    every fault on live nodes, and a table of what held'
	@echo 'make test-slow      the slow tests alone'
	@echo 'make test-gpu       the tests that need a CUDA device'
	@echo 'make bench          every benchmark; JSON in benchmarks/results/'
	@echo 'make bench-stereo   quality and speed of stereo views alone'
	@echo 'make lint           ruff'
	@echo 'make train-default  train the model that is shipped (DATA_ROOT=... adds real data)'
	@echo 'make clean          remove the environments and everything built'

$(VENV)/.stamp-demo: $(PIP_INPUTS)
	$(PYTHON) scripts/setup_env.py demo

# The test profile contains the demo's: its stamp stands for both.
$(VENV)/.stamp-test: $(PIP_INPUTS)
	$(PYTHON) scripts/setup_env.py test
	touch $(VENV)/.stamp-demo

.venv-compat/.stamp-compat: $(PIP_INPUTS)
	$(PYTHON) scripts/setup_env.py compat

demo: $(VENV)/.stamp-demo
	$(RUN) -m depth_perception.tools.cli demo $(if $(SOURCE),--source '$(SOURCE)') --output demo_output

demo-focus: $(VENV)/.stamp-demo
	$(RUN) -m depth_perception.tools.cli demo-focus --output demo_output

# The test profile holds what training needs. ARGUMENTS='--rooms 2,1,1 --frames 40' is a short one.
demo-retrain: $(VENV)/.stamp-test
	$(RUN) -m depth_perception.tools.cli demo-retrain --output demo_output $(ARGUMENTS)

lint: $(VENV)/.stamp-test
	$(RUN) -m ruff check .

# The tests in .venv mostly wait for nodes, so the second environment is made and tested beside
# them; nice, and told in one piece when it is done.
test: lint
	$(MAKE) --no-print-directory -j2 test-python test-compat-beside

test-compat-beside:
	@said=$$(nice $(MAKE) test-compat 2>&1); status=$$?; echo; echo "$$said"; exit $$status

test-python: $(VENV)/.stamp-test
	$(RUN) -m pytest

# The code keeps to what ROS Humble to Kilted ship: oldest Python found, NumPy 1.26, OpenCV 4.
test-compat: .venv-compat/.stamp-compat
	test ! -x .venv-compat/bin/python || .venv-compat/bin/python -m pytest $(COMPAT_TESTS)

test-gpu: $(VENV)/.stamp-test
	$(RUN) -m pytest -m gpu

# Every fault on live nodes, with a table at the end; WITHOUT=handler takes one handler out first.
test-faults: $(VENV)/.stamp-test
	FAULTS_WITHOUT='$(WITHOUT)' $(RUN) -m pytest test/faults -q -m 'slow or not slow'

test-slow: $(VENV)/.stamp-test
	$(RUN) -m pytest -m 'slow and not gpu'

bench: $(VENV)/.stamp-test
	mkdir -p benchmarks/results
	set -e; for script in benchmarks/bench_*.py; do echo "== $$script"; PYTHONPATH=. $(RUN) $$script; done

bench-stereo: $(VENV)/.stamp-test
	mkdir -p benchmarks/results
	PYTHONPATH=. $(RUN) benchmarks/bench_stereo.py

CONFIG := training/configs/realtime_unet_m
train-default: $(VENV)/.stamp-test
	$(RUN) -m training.train $(CONFIG).yaml
	$(RUN) -m training.train $(CONFIG)_confidence.yaml
	$(RUN) -m training.export $(CONFIG)_confidence.yaml name=realtime_unet_m
	$(RUN) -m training.evaluate $(CONFIG)_confidence.yaml name=realtime_unet_m

clean:
	rm -rf $(VENV) .venv-compat build install log dist demo_output *.egg-info
