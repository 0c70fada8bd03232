"""The help that people read first: it loads neither torch nor Lightning."""

from __future__ import annotations

__all__ = ["OVERVIEW", "RUN"]

OVERVIEW = """\
Train a forward surrogate and its inverse together, and watch where they can be inverted.

  demo      train the pair of the reference problem, a blast furnace: it takes some minutes
  fit       train a pair
  validate  judge a trained pair on the validation data
  test      judge a trained pair on the test data
  predict   write a table of its predictions
  analyze   measure where a trained map can be inverted, at all points of a file
  solve     propose settings for target outcomes
  export    write a trained pair to ONNX or to a page for a browser

  lightning-invert demo
  lightning-invert fit      --config blast_furnace
  lightning-invert fit      --data TabularDataModule --data.file measurements.csv \
                            --data.inputs flow,pressure --data.outputs yield
  lightning-invert test     --config blast_furnace --ckpt_path pair.ckpt
  lightning-invert predict  --config blast_furnace --ckpt_path pair.ckpt
  lightning-invert analyze  --ckpt pair.ckpt --data measurements.csv
  lightning-invert solve    --ckpt pair.ckpt --targets targets.csv
  lightning-invert export   --ckpt pair.ckpt --to onnx

--config takes a file, or the name of a config in the package.
In fit, validate and test an InvertibilityCallback watches, whether or not you name callbacks.

  lightning-invert COMMAND --help   options of a command
  lightning-invert --version        version

Next: lightning-invert demo, or with a table of your own: lightning-invert fit --help
"""

RUN = """\
{does}

  lightning-invert {command} --data TabularDataModule --data.file measurements.csv \\
    --data.inputs flow,pressure --data.outputs yield{ckpt}
  lightning-invert {command} --config blast_furnace{ckpt}

Settings
  -c, --config FILE            a YAML file, or blast_furnace, blast_furnace_conditioned,
                               blast_furnace_reference, tabular; later options replace its settings
  --print_config               print all settings and end: a config to begin with
  --ckpt_path FILE             {of_ckpt}
  --allow NAMES                packages and classes that a checkpoint may import and run
  --seed_everything N          seed of all random numbers, 42

Data, after --data TabularDataModule
  --data.file FILE             .csv, .tsv, .txt, .dat, each also as .gz, .parquet, .pq or .xlsx
  --data.inputs a,b            columns of the settings
  --data.outputs c,d           columns of the outcomes
  --data.units '{{a: bar}}'      units, where neither the file nor the names tell them
  --data.on_missing drop       leave rows with empty cells out; by default they are an error
  --data.separator, --data.decimal, --data.thousands, --data.encoding, --data.skip_rows,
  --data.units_row, --data.missing
                               how the file is written; by default its first lines tell
  --data.val_fraction 0.2, --data.test_fraction 0.0
                               shares of the rows held out
  --data.batch_size 16         rows of a training batch

Model, sized by the data
  --model.alpha 0.8            weight of F(I(y)) = y in the loss of the inverse I
  --model.learning_rate 0.003
  --model.forward_net CLASS, --model.inverse_net CLASS
                               networks of your own

Trainer
  --trainer.max_epochs N
  --trainer.accelerator cpu
  --trainer.callbacks+ CLASS   one more callback, such as ConditioningEarlyStopping

Of a class:   lightning-invert {command} --data.help TabularDataModule
All options:  lightning-invert {command} --help all
"""
"""Help of ``fit``, ``validate``, ``test`` and ``predict``."""
