# Each target does the set-up it needs: a virtual environment and the install.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/

.PHONY: test parity nightly oldest docs page notebooks demo lint types clean

$(VENV)/.installed: pyproject.toml
	test -x $(RUN)python || $(PYTHON) -m venv $(VENV)
	$(RUN)pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

$(VENV)/.installed-parity: $(VENV)/.installed
	$(RUN)pip install --quiet --disable-pip-version-check -e '.[dev,parity]'
	touch $@

$(VENV)/.installed-nightly: $(VENV)/.installed-parity
	$(RUN)pip install --quiet --disable-pip-version-check -e '.[dev,parity,nightly]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(RUN)pip install --quiet --disable-pip-version-check -e '.[dev,docs]'
	touch $@

# The oldest supported versions of everything that pyproject.toml names, in an environment of their own.
$(VENV)-oldest/.installed: pyproject.toml | $(VENV)/.installed
	$(RUN)pip install --quiet --disable-pip-version-check uv
	$(RUN)uv venv --quiet --clear --seed --python $(RUN)python $(VENV)-oldest
	$(RUN)uv pip install --quiet --python $(VENV)-oldest --resolution lowest-direct -e '.[dev]'
	touch $@

# Everything but what needs the other toolboxes and what takes minutes: within ten minutes on two cores.
test: $(VENV)/.installed
	$(RUN)pytest -n auto --dist worksteal -m "not parity and not nightly"

# The other toolboxes, live; also checks that the golden files say what they compute.
parity: $(VENV)/.installed-parity
	$(RUN)pytest -n auto --dist worksteal -m "parity and not nightly"

# What the two above leave out: every method on every family of encoders, full-size models, long runs.
nightly: $(VENV)/.installed-nightly
	$(RUN)pytest -n auto --dist worksteal -m nightly

oldest: $(VENV)-oldest/.installed
	$(VENV)-oldest/bin/pytest -n auto --dist worksteal -m "not parity and not nightly"

# Builds the site and opens every page in headless Chromium (Debian: apt-get install chromium).
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(RUN)python -m mkdocs build --strict
	$(RUN)pytest tests/docs/site_in_browser.py

# Opens the page of the service in headless Chromium and uses all of its controls.
page: $(VENV)/.installed-docs
	$(RUN)pytest tests/serve/page_in_browser.py

# Runs the notebooks and stores their outputs.
notebooks: $(VENV)/.installed-docs
	$(RUN)python -m tools.run_notebooks

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
	rm -rf $(VENV) $(VENV)-oldest demo site
