# Plumbline: every command a user needs. `make` alone lists them.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

VENV ?= .venv
PYTHON ?=
BIN := $(VENV)/bin
# Prerequisite of every command. The script compares the requirements that the environment was made for, not file ages.
STAMP := setup
EXP ?=
ARGS ?=
DATA ?=
ROOT ?=
CONFIG := experiments/$(EXP).yaml
EXPERIMENTS := $(filter-out _%,$(patsubst experiments/%.yaml,%,$(wildcard experiments/*.yaml)))
ABLATIONS := $(filter-out _%,$(sort $(patsubst experiments/ablations/%.yaml,%,$(wildcard experiments/ablations/*.yaml))))
SWEEPS := $(filter-out _%,$(sort $(patsubst experiments/sweeps/%.yaml,%,$(wildcard experiments/sweeps/*.yaml))))
DATA_NAMES := $(filter-out _%,$(sort $(patsubst experiments/data/%.yaml,%,$(wildcard experiments/data/*.yaml))))

# quote: a value as one word of the shell, with any blanks and quotes. is_one_of: whether a value is one name of a list.
quote = '$(subst ','\'',$(1))'
is_one_of = $(and $(filter 1,$(words $(1))),$(filter $(2),$(1)))

# albumentations would look for updates at every import.
export NO_ALBUMENTATIONS_UPDATE := 1

DATA_ARGS := $(if $(DATA),--data experiments/data/$(DATA).yaml) $(if $(ROOT),--data.init_args.root $(call quote,$(ROOT)))

help: ## list the commands
	@echo "usage: make COMMAND [NAME=value ...]"; echo
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16
	@echo; echo "  VENV=dir uses another environment; ARGS='--trainer.max_steps 100' reaches the command line as it is"

setup: ## create the environment (uv where present, else pip); does nothing when it is up to date
	@tools/setup_environment.sh "$(VENV)" $(call quote,$(PYTHON))

doctor: $(STAMP) ## versions, GPU, W&B mode, hub reachable, disk
	@$(BIN)/python -m tools.doctor

train: experiment-exists data-exists $(STAMP) ## train and test: EXP=name [DATA=nyuv2_labeled ROOT=/path] [ARGS=...]
	@$(BIN)/python -m tools.prepare_inputs --config $(CONFIG) $(DATA_ARGS) $(ARGS)
	$(BIN)/python -m cli fit --config $(CONFIG) $(DATA_ARGS) $(ARGS)

submit: experiment-exists data-exists $(STAMP) ## train on a SLURM cluster: EXP=name [NODES=2 GPUS=8 (of a node; 0: CPUs) CPUS= TIME= DATA= ROOT= ARGS=]
	@NODES=$(call quote,$(NODES)) GPUS=$(call quote,$(GPUS)) CPUS=$(call quote,$(CPUS)) TIME=$(call quote,$(TIME)) TASKS=$(call quote,$(TASKS)) \
		cluster/submit.sh $(CONFIG) $(DATA_ARGS) $(ARGS)

ablation: ablation-exists $(STAMP) ## the ablation table of a paper, all variants and seeds, resumable: EXP=gam_depth [ARGS="--jobs 2"]
	@$(if $(findstring --table-only,$(ARGS)),:,$(BIN)/python -m tools.prepare_inputs --ablation experiments/ablations/$(EXP).yaml)
	$(BIN)/python -m tools.ablation experiments/ablations/$(EXP).yaml $(ARGS)

sweep: sweep-exists $(STAMP) ## the grid of an ablation by W&B agents, without W&B here, resumable: EXP=gam_depth [PROJECT=entity/project] [ARGS=--local]
	$(BIN)/python -m tools.sweep experiments/sweeps/$(EXP).yaml $(if $(PROJECT),--project $(call quote,$(PROJECT))) $(ARGS)

dashboard: needs-PROJECT $(STAMP) ## W&B workspace and a report of each paper, offline their definition: PROJECT=entity/project [OUT=runs/dashboard]
	$(BIN)/python -m tools.dashboard --project $(call quote,$(PROJECT)) --out $(call quote,$(or $(OUT),runs/dashboard)) $(ARGS)

pseudo-labels: data-exists needs-DATA needs-TEACHER needs-OUT $(STAMP) ## proxy labels of a data set by a teacher: DATA= TEACHER= OUT=file.h5 [KIND=depth] [ROOT=]
	$(BIN)/python -m tools.pseudo_labels $(DATA_ARGS) --teacher $(call quote,$(TEACHER)) --kind $(call quote,$(or $(KIND),semantic)) --out $(call quote,$(OUT)) $(ARGS)

vanishing: data-exists needs-DATA needs-OUT $(STAMP) ## Manhattan directions of a data set's frames: DATA= OUT=file.h5 [ROOT=]
	$(BIN)/python -m tools.vanishing $(DATA_ARGS) --out $(call quote,$(OUT)) $(ARGS)

pseudo-depth: needs-DATA instances-exist needs-TEACHER $(STAMP) ## pseudo depth of an instance data set: DATA=coco (or cityscapes, rooms) ROOT= TEACHER=model or folder of depth maps
	$(BIN)/python -m tools.pseudo_labels --data experiments/data/$(DATA)_instances.yaml $(if $(ROOT),--data.init_args.root $(call quote,$(ROOT))) --teacher $(call quote,$(TEACHER)) --kind depth --out $(call quote,$(or $(OUT),data/labels/$(patsubst rooms,rooms_instances,$(DATA))_depth.h5)) $(ARGS)

coco-check: needs-JSON needs-IMAGES $(STAMP) ## check a COCO data set and draw samples: JSON=file IMAGES=folder [OUT=picture.png]
	$(BIN)/python -m tools.coco_check --json $(call quote,$(JSON)) --images $(call quote,$(IMAGES)) $(if $(OUT),--out $(call quote,$(OUT))) $(ARGS)

coco-split: needs-JSON needs-OUT $(STAMP) ## split a COCO data set into training and validation images: JSON=file OUT=folder [ARGS="--val 0.2"]
	$(BIN)/python -m tools.coco_split --json $(call quote,$(JSON)) --out $(call quote,$(OUT)) $(ARGS)

rooms-coco: needs-OUT $(STAMP) ## export rooms in COCO format: OUT=folder
	$(BIN)/python -m tools.rooms_coco --out $(call quote,$(OUT)) $(ARGS)

manifest: needs-IMAGES needs-DEPTHS needs-OUT $(STAMP) ## list your RGB-D frames: IMAGES='a/*.jpg' DEPTHS='b/*.png' OUT=file.csv [ARGS="--depth-scale 1000 --split time ..."]
	$(BIN)/python -m tools.make_manifest --images $(call quote,$(IMAGES)) --depths $(call quote,$(DEPTHS)) --out $(call quote,$(OUT)) $(ARGS)

calibrate: data-exists needs-DATA needs-OUT $(STAMP) ## depth shift and focal length of a network on a data set: DATA= OUT=file.yaml CKPT=file or TEACHER=model [ARGS="--find both"]
	@$(if $(CKPT)$(TEACHER),:,echo "neither CKPT nor TEACHER is set: make calibrate CKPT=file or TEACHER=model" >&2; exit 2)
	$(BIN)/python -m tools.calibrate $(DATA_ARGS) --teacher $(call quote,$(or $(CKPT),$(TEACHER))) --out $(call quote,$(OUT)) $(ARGS)

evaluate: experiment-exists data-exists needs-CKPT $(STAMP) ## test a checkpoint: EXP=name CKPT=file [DATA= ROOT=]
	$(BIN)/python -m cli test --config $(CONFIG) $(DATA_ARGS) --ckpt_path $(call quote,$(CKPT)) $(ARGS)

report: $(STAMP) ## one web page that compares runs, without network: [RUNS="runs/lite_unet runs/gam*"] [OUT=report.html]
	$(BIN)/python -m tools.report $(or $(RUNS),runs) --out $(call quote,$(or $(OUT),report.html)) $(ARGS)

predict: needs-CKPT needs-IN needs-OUT $(STAMP) ## depth, instances or classes of images or video: CKPT=file IN=path OUT=folder [ARGS="--field-of-view 60 --ply"]
	$(BIN)/python -m tools.predict --checkpoint $(call quote,$(CKPT)) --input $(call quote,$(IN)) --output $(call quote,$(OUT)) $(ARGS)

export: needs-CKPT needs-OUT $(STAMP) ## a network as a file of its own, compared with PyTorch: CKPT=file OUT=net.onnx [FORMAT=onnx|torchscript|pt2]
	$(BIN)/python -m tools.export --checkpoint $(call quote,$(CKPT)) --format $(call quote,$(or $(FORMAT),onnx)) --output $(call quote,$(OUT)) $(ARGS)

compare: data-exists needs-DATA needs-MODELS $(STAMP) ## networks under one protocol: MODELS="a.ckpt b.onnx hf:org/model" DATA= [ROOT=] [ARGS="--alignment median"]
	$(BIN)/python -m tools.compare $(DATA_ARGS) $(foreach model,$(MODELS),--models+ $(call quote,$(model))) $(ARGS)

data: data-exists $(STAMP) ## make the embedded data set, or check another: [DATA= ROOT=] (training makes a missing one itself)
	$(BIN)/python -m tools.make_data $(DATA_ARGS) $(ARGS)

shards: data-exists needs-DATA needs-OUT $(STAMP) ## a data set as compressed streams for clusters: DATA= OUT=folder [ROOT=] [ARGS="--workers 8"]
	$(BIN)/python -m tools.shards $(DATA_ARGS) --out $(call quote,$(OUT)) $(ARGS)

test: $(STAMP) ## all tests but the slow ones and those of the GPU
	$(BIN)/python -m pytest -n 2 $(ARGS)

test-all: $(STAMP) ## all tests but the drills, with the paper-scale configurations and, where there is one, the GPU
	$(BIN)/python -m pytest -n 2 --timeout 3600 -m "slow or not slow" --ignore tests/drills $(ARGS)

drills: $(STAMP) ## faults during whole trainings, for hours: signals, kills at random moments, damaged files, a real SLURM
	$(BIN)/python -m pytest --timeout 0 -m "slow or not slow" tests/drills tests/test_signals.py tests/test_exact_resume.py tests/test_run_ends.py $(ARGS)

lint: $(STAMP) ## ruff, mypy, the import rules and known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.audit

bench: $(STAMP) ## time each hot path against its reference, as ratios
	$(BIN)/python -m benchmarks.run $(ARGS)

docs: $(STAMP) ## the documentation as web pages that need no network: [OUT=folder]
	@tools/install_extra.sh "$(VENV)" docs mkdocs material mkdocstrings_handlers.python nbconvert
	$(BIN)/python -m tools.docs_site --out $(call quote,$(or $(OUT),site)) $(ARGS)

clean: ## remove caches and the built documentation (not data, not runs, not the environment)
	rm -rf site .pytest_cache .ruff_cache .mypy_cache .import_linter_cache build *.egg-info
	find . \( -name '.venv*' -o -path './$(patsubst $(CURDIR)/%,%,$(abspath $(VENV)))' \) -prune -o \
		-name __pycache__ -type d -prune -exec rm -rf {} +

# Unknown names are refused, with the known ones, before anything is installed.
experiment-exists:
	@$(if $(call is_one_of,$(EXP),$(EXPERIMENTS)),:,tools/list_experiments.sh $(call quote,$(EXP)); exit 2)

ablation-exists:
	@$(if $(call is_one_of,$(EXP),$(ABLATIONS)),:,echo 'There is no ablation '$(call quote,'$(EXP)')"$$(tools/did_you_mean.sh $(call quote,$(EXP)) $(ABLATIONS))"' Known ablations: $(ABLATIONS).' >&2; exit 2)

sweep-exists:
	@$(if $(call is_one_of,$(EXP),$(SWEEPS)),:,echo 'There is no sweep '$(call quote,'$(EXP)')"$$(tools/did_you_mean.sh $(call quote,$(EXP)) $(SWEEPS))"' Known sweeps: $(SWEEPS).' >&2; exit 2)

data-exists:
	@$(if $(DATA),$(if $(call is_one_of,$(DATA),$(DATA_NAMES)),:,echo 'There is no data '$(call quote,'$(DATA)')"$$(tools/did_you_mean.sh $(call quote,$(DATA)) $(DATA_NAMES))"' Known data: $(DATA_NAMES).' >&2; exit 2),:)

instances-exist:
	@$(if $(call is_one_of,$(DATA)_instances,$(DATA_NAMES)),:,echo 'There is no instance data '$(call quote,'$(DATA)')"$$(tools/did_you_mean.sh $(call quote,$(DATA)) $(patsubst %_instances,%,$(filter %_instances,$(DATA_NAMES))))"' Known: $(patsubst %_instances,%,$(filter %_instances,$(DATA_NAMES))).' >&2; exit 2)

needs-%:
	@$(if $($*),:,echo "$* is not set: make $(MAKECMDGOALS) $*=..." >&2; exit 2)

.PHONY: help setup doctor train submit ablation sweep dashboard pseudo-labels pseudo-depth coco-check coco-split rooms-coco manifest calibrate vanishing evaluate report predict export compare data shards test test-all drills lint bench docs clean experiment-exists ablation-exists sweep-exists data-exists instances-exist
