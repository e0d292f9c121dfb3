"""Fine-tuning: a trained model is trained further for a task. One loop, three tasks; read in this order.

batching.py             which examples form a batch; buckets of similar length; padding
task.py                 the options that all tasks share; a task reads data, builds its model, names its objective and
                        evaluates; which parameters are trained (adapters: gpt/lora.py); begin and resume a run

classify                classification_data.py (labelled texts) → classifier.py (model, task and metrics)
instruct                formats.py (those of other programs) → conversations.py → templates.py (their text; jinja.py runs
                        other people's) → examples.py (tokens and loss mask) → chat.py (answers) → sft.py (task)
prefer                  dpo.py (pairs of answers, loss, reference and task), on the files of instruct

A new task is a subclass of FinetuneTask, with its name, summary and description in gpt/commands/finetune.py. It names its
objective with `make_objective(train, val, collate, loss_of, config)`:

    len(example) -> int                               its tokens, by which batches are sorted
    collate(examples) -> Batch(rows, n_targets)       rows share their first axis, along which shards are cut
    loss_of(model, *rows) -> Tensor                   a sum over the targets, never a mean

A model built around a GPT has it as its attribute `gpt`; the parameters outside of it are the task's head. To open its
checkpoint: `load_checkpoint(path, base).load_into(GPTClassifier(…))`; for a GPT: `.model()`. Adapters are then
merged, and `checkpoint.task` holds labels and template.
"""
