package nvidia

// Ability is what arithmetic a compute capability does in hardware.
type Ability struct {
	FP16, FP16Tensor bool // fast half precision; tensor cores for it
	BF16             bool // native bfloat16, with tensor cores
	TF32             bool
	INT8, INT8Tensor bool // four-way integer dot product; tensor cores for it
	FP8              bool // tensor cores
	FP4              bool
}
