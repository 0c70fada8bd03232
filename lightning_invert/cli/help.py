"""The help that people read first: it loads neither torch nor Lightning."""

from __future__ import annotations

__all__ = ["OVERVIEW", "RUN"]

OVERVIEW = """\
Train a forward model and its inverse together, and watch where they can be inverted.

  demo      train the pair of the reference problem, a blast furnace: it takes some minutes
  fit       train a pair on a table of your own
  validate  judge a trained pair on the validation rows
  test      judge a trained pair on the test rows
  predict   write a table of its predictions
  analyze   measure where a trained map can be inverted, at all points of a file
  solve     propose settings for target outcomes
  backtest  tell what a history would have cost with the cheapest settings
  observe   tell a pair what was measured where it was tried
  export    write a trained pair to ONNX or to a page for a browser

  lightning-invert demo
  lightning-invert fit      measurements.csv --inputs flow,pressure --outputs yield
  lightning-invert test     measurements.csv --ckpt pair.ckpt
  lightning-invert predict  measurements.csv --ckpt pair.ckpt
  lightning-invert analyze  measurements.csv --ckpt pair.ckpt
  lightning-invert solve    --targets '{yield: 90}' --ckpt pair.ckpt
  lightning-invert backtest history.csv --ckpt pair.ckpt --cost prices.yaml
  lightning-invert observe  tried.csv --ckpt pair.ckpt
  lightning-invert export   --to page --ckpt pair.ckpt

In fit, validate and test an InvertibilityCallback watches, whether or not you name callbacks.

  lightning-invert COMMAND --help   options of a command
  lightning-invert --version        version

Next: lightning-invert demo, or with a table of your own: lightning-invert fit --help
"""

RUN = """\
{does}

  lightning-invert {command} measurements.csv {columns}
  lightning-invert {command} --config blast_furnace{ckpt}

A table stands for --config tabular with that file. An option may be written without its group:
--max_epochs for --trainer.max_epochs.

Settings
  -c, --config FILE            a YAML file, or blast_furnace, blast_furnace_conditioned,
                               blast_furnace_reference, tabular; later options replace its settings
  --print_config               print all settings and end: a config to begin with
  --ckpt FILE                  {of_ckpt}
  --allow NAMES                packages and classes that a checkpoint may import and run
  --seed N                     seed of weights and batches, 42; the rows held out are those of
                               --data.seed

Data: .csv, .tsv, .txt, .dat, each also as .gz, .parquet, .pq or .xlsx
  --inputs a,b                 columns of the settings
  --outputs c,d                columns of the outcomes
  --units '{{a: bar}}'           units, where neither the file nor the names tell them
  --on_missing drop            leave rows with empty cells out; by default they are an error
  --separator, --decimal, --thousands, --encoding, --skip_rows, --units_row, --missing
                               how the file is written; by default its first lines tell
  --val_fraction 0.2, --test_fraction 0.1
                               shares of the rows held out
  --batch_size N               rows of a training batch

Model, sized by the data
  --alpha 0.8                  weight of F(I(y)) = y in the loss of the inverse I
  --learning_rate 0.003
  --forward_net CLASS, --inverse_net CLASS
                               networks of your own

Trainer
  --max_epochs N
  --accelerator cpu
  --callbacks+ CLASS           one more callback, such as ConditioningEarlyStopping

Of a class:   lightning-invert {command} --data.help TabularDataModule
All options:  lightning-invert {command} --help all
"""
"""Help of ``fit``, ``validate``, ``test`` and ``predict``."""
