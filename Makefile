# Each target does the set-up it needs: a virtual environment and the install.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/

.PHONY: test parity demo lint types clean

$(VENV)/.installed: pyproject.toml
	test -x $(RUN)python || $(PYTHON) -m venv $(VENV)
	$(RUN)pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

$(VENV)/.installed-parity: $(VENV)/.installed
	$(RUN)pip install --quiet --disable-pip-version-check -e '.[dev,parity]'
	touch $@

test: $(VENV)/.installed
	$(RUN)pytest -n auto --dist loadfile -m "not parity"

parity: $(VENV)/.installed-parity
	$(RUN)pytest -n auto --dist loadfile -m parity tests/parity

demo: $(VENV)/.installed
	rm -rf demo
	$(RUN)vitrail train fastscnn_scenes --output-dir demo/run
	$(RUN)vitrail evaluate demo/run/best.safetensors --report demo/report
	$(RUN)vitrail dataset scenes --split test --limit 6 --write demo/scenes
	$(RUN)vitrail predict demo/run/best.safetensors demo/scenes/images/test --output-dir demo/pictures
	@echo "The worst images: demo/report/index.html. Overlays: demo/pictures. The model: demo/run/best.safetensors"

lint: $(VENV)/.installed
	$(RUN)ruff check .
	$(RUN)ruff format --check .

types: $(VENV)/.installed
	$(RUN)mypy

clean:
	rm -rf $(VENV) demo
