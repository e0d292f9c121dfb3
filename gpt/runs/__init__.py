"""A run: the folder that a training leaves, and its checkpoints. Read in this order.

safetensors.py     named arrays in one file
checkpoint.py      a model, its optimizer and the state of its training, as one safetensors file; the task of a fine-tuning
estimate.py        the memory and the time that a training will take
progress.py        the line on the terminal
curves.py          the records of a run as curves
lock.py            one process at a time writes in a run's folder
run.py             the run's folder, or a run in memory; what happens after every step
supervise.py       train a run to its end, and save whatever interrupts it
page.py            the page of a run: its curves, what it wrote, its options
start.py           begin or resume a run, the same for pretraining and fine-tuning
pretrain.py        pretraining: its data, its model, random or from a checkpoint, and its run
doctor.py          checks of a model, before or after training
"""
