// Package finetune trains a GPT-2 on texts: it reads the settings, drives the
// training step, evaluates, saves, reports, and writes the finished model as a
// folder in Hugging Face's layout.
//
// The arithmetic is a Trainer's and the texts are a Data's; the loop knows
// neither devices nor files of text. What it promises:
//
//   - A run that is killed at any moment and resumed ends with the same weights
//     as one that was not, since a checkpoint holds all that decides about what
//     comes next, and nothing else decides.
//   - What has the name of a checkpoint is whole. It is written under another
//     name, brought to the disk, and renamed.
//   - A checkpoint needs no second copy of the weights: they are written while
//     the next gradients are computed, and the update waits for it.
//
// A training folder:
//
//	OUT/model.safetensors, config.json, …  the finished model, as transformers loads it
//	OUT/README.md                          its model card
//	OUT/report.html                        curves and samples
//	OUT/metrics.csv                        one line per step
//	OUT/tensorboard/events.out.tfevents.…  the same for TensorBoard
//	OUT/checkpoints/step-00000100/         each a model folder with state.json and optimizer.safetensors
package finetune
