"""The help that people read first: it loads neither torch nor Lightning."""

from __future__ import annotations

__all__ = ["MODEL", "OVERVIEW", "RUN"]

OVERVIEW = """\
Train a pair, a forward model and its inverse, and watch where the pair can be inverted.

  demo      train a pair on the reference problem, a blast furnace: it takes some minutes
  fit       train a pair on a table of your own
  validate  measure a trained pair's errors on the validation rows
  test      measure a trained pair's errors on the test rows
  predict   write a table of a trained pair's predictions
  analyze   measure where a trained map can be inverted, at all points of a file
  solve     propose settings for target outcomes
  backtest  compare what a history cost with the cheapest settings
  observe   update a trained pair with outcomes that were measured
  export    write a trained pair to ONNX, or to a page for a browser

  lightning-invert demo
  lightning-invert fit      measurements.csv --inputs flow,pressure --outputs yield
  lightning-invert test     measurements.csv --ckpt pair.ckpt
  lightning-invert predict  measurements.csv --ckpt pair.ckpt
  lightning-invert analyze  measurements.csv --ckpt pair.ckpt
  lightning-invert solve    --targets '{yield: 90}' --ckpt pair.ckpt
  lightning-invert backtest history.csv --ckpt pair.ckpt --cost prices.yaml
  lightning-invert observe  tried.csv --ckpt pair.ckpt
  lightning-invert export   --to page --ckpt pair.ckpt

  lightning-invert COMMAND --help   options of a command
  lightning-invert --version        version

Next: lightning-invert demo, or with a table of your own: lightning-invert fit --help
"""

RUN = """\
{does}

  lightning-invert {command} measurements.csv {columns}
  lightning-invert {command} --config blast_furnace{ckpt}

With a table, the settings of --config tabular apply. You may leave out the group of an option:
--max_epochs for --trainer.max_epochs.

Run
  -c, --config FILE            a YAML file, or blast_furnace, blast_furnace_conditioned,
                               blast_furnace_reference, tabular; later options replace its settings
  --print_config               print the whole config, to start one of your own, and end
  --ckpt FILE                  {of_ckpt}
  --allow NAMES                packages and classes that a checkpoint may import and run
  --seed N                     seed of the weights, 42; --data.seed decides which rows are held out

Data: .csv, .tsv, .txt, .dat, each also as .gz, .parquet, .pq, .xlsx or .xlsm{of_data}
  --inputs a,b                 columns of the settings
  --outputs c,d                columns of the outcomes
  --units '{{a: bar}}'           units, if neither the file nor the names have them
  --on_missing drop            leave rows with empty cells out; by default they are an error
  --separator, --decimal, --thousands, --encoding, --skip_rows, --units_row, --missing
                               how the file is written; by default found from the file's first lines
  --val_fraction 0.2, --test_fraction 0.1
                               shares of the rows held out for validation and test
  --batch_size N               rows of a training batch

{model}Trainer
  --max_epochs N
  --accelerator cpu
  --callbacks+ CLASS           one more callback, such as ConditioningEarlyStopping

One class:    lightning-invert {command} --data.help TabularDataModule
All options:  lightning-invert {command} --help all
"""
"""Help of ``fit``, ``validate``, ``test`` and ``predict``."""

MODEL = """\
Model, sized by the data
  --alpha 0.8                  weight of the consistency term F(I(y)) = y in the loss, 0 to 1
  --learning_rate 0.003
  --forward_net CLASS, --inverse_net CLASS
                               networks of your own

"""
"""Of ``fit`` alone: the others take the model from the checkpoint."""
