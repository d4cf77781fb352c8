// Package install brings a machine to the point where the reference script
// (transformers, GPT2LMHeadModel.generate) runs: Python, NVIDIA's driver, CUDA
// toolkit and cuDNN, a virtual environment, PyTorch.
//
// [MakePlan] looks at the machine and says what would be done, changing
// nothing. [Apply] does it, verifies each step, and keeps a journal of what
// was there before and what was added. A plan made with Undo takes away what
// the journal names, and nothing else. [Script] prints a plan as a shell
// script.
//
// Distributions are data: recipes/*.toml. What works already is left alone,
// and what cannot be done without breaking something is a [Blocked], with the
// reason, in place of steps.
package install
