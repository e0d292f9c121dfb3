"""Fine-tuning: a model that is there already is made useful. A map of the room, and what a new task needs.

Which weights train        freeze.py  choose_trained(model, config, rng), freeze(model, how), trained_share(model)
Adapters                   lora.py    add_lora, merge_lora, unmerge_lora, merged (a context), absorb_lora, lora_state
The loop                   gpt/training.py  fit(model, optimizer, Objective(batch_of, loss_of, evaluate), config, log=…)
A run and its folder       loop.py    begin_run, resume_run, open_base, resolve, draw_examples; gpt/runs/supervise.py
What a checkpoint is for   gpt/runs/task.py  Task(kind, config, labels, template, lora, base, base_sha256)
A classifier               rows.py → labelled.py (cleaned, balanced, split) → classifier.py → metrics.py
Answering                  conversations.py → templates.py → targets.py (what is learned) → buckets.py (batches) →
                           instruct.py, and answer.py, which asks a model as it was taught
Preferring                 pairs.py (two answers to a prompt) → preference.py (DPO; the reference is computed once)

A task is an Objective and a command around it:

    batch_of(step, micro) -> Batch(rows, n_targets)   rows share their first axis, where shards are cut
    loss_of(model, *rows) -> Tensor                   a sum over the targets that count, never a mean
    evaluate() -> float                               a mean: mean_loss(model, batches, loss_of, shards=config.shards)

    base = open_base(config.base)
    config = resolve(config, n_examples, length)
    task, files = Task("instruct", template=…), {"data.json": path}
    run = begin_run(given.out, base.model(), config, base.tokenizer, task, files, base=base)
    or    resume_run(given.resume, "instruct", InstructConfig, vars(given), lambda c: GPT(c.model_config, init=False))
    if not supervise(run, objective, "finetune instruct"): return 130

A model that a task builds around a GPT has it as its attribute `gpt`; the parameters outside of it are the task's head.
Its checkpoint is opened with `load_checkpoint(path, given.base).model(Classifier(…))`, one of a GPT with `.model()`:
adapters are merged, and `checkpoint.task` holds labels and template.
"""
