"""A run: the folder that a training leaves, and its checkpoints. Read in this order.

safetensors.py     named arrays in one file
checkpoint.py      a model, its optimizer and the state of its training, as one safetensors file; the task of a fine-tuning
estimate.py        the memory and the time that a training will take
progress.py        the line on the terminal
run.py             the run's folder; what happens after every step; run_training, which Ctrl-C stops
start.py           begin or resume a run, the same for pretraining and fine-tuning
init_from.py       begin from the weights of a checkpoint
training_data.py   the tokens to pretrain on, from texts or from a prepared folder
pretrain.py        begin or resume pretraining
"""
