"""Training, evaluation and prediction: the only room that knows about devices, processes and the files it writes.

The functions have the names of their modules. Importing them here, after their modules, makes the function what
`vitrail.engine.train` means; `from vitrail.engine.train import …` still reaches into the module.
"""

from vitrail.engine.evaluate import evaluate
from vitrail.engine.evaluation import Evaluation
from vitrail.engine.predict import predict
from vitrail.engine.prediction import Prediction
from vitrail.engine.train import TrainingRun, train

__all__ = ["Evaluation", "Prediction", "TrainingRun", "evaluate", "predict", "train"]
