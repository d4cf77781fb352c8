// Package nvidia answers which NVIDIA GPUs this machine has and in what state
// they are, without root and without a compiler.
//
// [Probe] asks the driver's management library (NVML, through go-nvml, in a
// Linux build with cgo) or, elsewhere and where that library is missing, the
// program nvidia-smi. Both give the same [Inventory] for the same machine. What
// goes wrong is a [State], not an error: a machine without a driver is an
// answer. A value that the device does not support is nil, never a made-up zero.
// Serial numbers, UUIDs and user names are not read.
//
// [MinDriver], [TorchIndexes], [Compatible] and their neighbours hold the compatibility of
// driver, CUDA, cuDNN, PyTorch wheels and compute capability as data. [Work]
// makes the GPU do something, through the driver library.
package nvidia
