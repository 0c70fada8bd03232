"""transformers: a language model, called by keywords, at the embeddings of its tokens."""

import torch

from tests.real._training import Fitted, fitted

REQUIREMENTS = ("transformers==5.24.0",)
TRAINED = "GPT2LMHeadModel, self(**batch)"
EMBEDDINGS = {"module": "model.transformer.wte", "input": "input_ids"}
MAPS = {
    "logits": {
        "module": "",
        "argument": "inputs_embeds",
        "input": EMBEDDINGS,
        "context": {"attention_mask": "attention_mask"},
        "output": "logits",
    }
}


def fit(callbacks, options):
    from torch.utils.data import DataLoader
    from transformers import GPT2Config, GPT2LMHeadModel

    class Language(Fitted):
        def __init__(self):
            super().__init__()
            sizes = {"n_embd": 4, "n_layer": 1, "n_head": 1, "n_positions": 6, "vocab_size": 8}
            self.model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))

        def forward(self, **batch):
            return self.model(**batch)

        def step(self, batch):
            return self(**batch, labels=batch["input_ids"]).loss

    tokens = torch.randint(8, (24, 5))
    rows = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in tokens]
    return fitted(Language(), DataLoader(rows, batch_size=8), callbacks, options)


def points(batch, module):
    return module.model.transformer.wte(batch["input_ids"])


def outputs(module, batch, x):
    return module(inputs_embeds=x, attention_mask=batch["attention_mask"]).logits
