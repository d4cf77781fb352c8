package main

// operation is one of AMX's instructions.
type operation string

const (
	ldtilecfg   operation = "ldtilecfg"
	sttilecfg   operation = "sttilecfg"
	tilerelease operation = "tilerelease"
	tilezero    operation = "tilezero"
	tileloadd   operation = "tileloadd"
	tileloaddt1 operation = "tileloaddt1"
	tilestored  operation = "tilestored"
	tdpbf16ps   operation = "tdpbf16ps"
	tdpbssd     operation = "tdpbssd"
	tdpbsud     operation = "tdpbsud"
	tdpbusd     operation = "tdpbusd"
	tdpbuud     operation = "tdpbuud"
)

// instruction is a decoded one. Registers have their numbers in encodings: rax
// 0, rcx 1, rdx 2, rbx 3, rsp 4, rbp 5, rsi 6, rdi 7, r8 8 …; none is -1.
type instruction struct {
	op        operation
	length    int
	dst       int // the tile that is written, or stored
	src1      int // A of a product
	src2      int // B of a product
	base      int
	index     int
	scale     uint // index is shifted by so much
	disp      int64
	relative  bool // to the next instruction: no base
	memory    bool
	distorted string // what makes the processor refuse it
}

// decode reads the instruction at the start of code, if it is one of AMX's.
// They all have a VEX prefix of three bytes and lie in map 0F38.
//
// Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
func decode(code []byte) (instruction, bool) {
	if len(code) < 5 || code[0] != 0xc4 || code[1]&0x1f != 2 {
		return instruction{}, false
	}
	r, x, b := code[1]&0x80 == 0, code[1]&0x40 == 0, code[1]&0x20 == 0 // stored inverted
	wide, vvvv, long, pp := code[2]&0x80 != 0, int(^code[2]>>3&15), code[2]&4 != 0, code[2]&3
	opcode, modrm := code[3], code[4]
	mod, reg, rm := modrm>>6, int(modrm>>3&7), int(modrm&7)
	if wide || long {
		return instruction{}, false
	}
	in := instruction{length: 5, dst: -1, src1: -1, src2: -1, base: -1, index: -1}
	if mod != 3 && !in.address(code[4:], x, b) {
		return instruction{}, false
	}

	type key struct {
		opcode, pp byte
		memory     bool
	}
	in.op = map[key]operation{
		{0x49, 0, true}: ldtilecfg, {0x49, 1, true}: sttilecfg, {0x49, 0, false}: tilerelease, {0x49, 3, false}: tilezero,
		{0x4b, 3, true}: tileloadd, {0x4b, 1, true}: tileloaddt1, {0x4b, 2, true}: tilestored,
		{0x5c, 2, false}: tdpbf16ps,
		{0x5e, 3, false}: tdpbssd, {0x5e, 2, false}: tdpbsud, {0x5e, 1, false}: tdpbusd, {0x5e, 0, false}: tdpbuud,
	}[key{opcode, pp, in.memory}]
	switch in.op {
	case "":
		return instruction{}, false
	case ldtilecfg, sttilecfg:
		in.refuse(reg != 0 || r, "the register field is used")
		in.refuse(vvvv != 0, "vvvv is used")
	case tilerelease:
		in.refuse(modrm != 0xc0, "the operand fields are used")
		in.refuse(vvvv != 0, "vvvv is used")
	case tilezero:
		in.dst = reg
		in.refuse(rm != 0, "the operand field is used")
		in.refuse(vvvv != 0, "vvvv is used")
		in.refuse(r, "there are eight tiles")
	case tileloadd, tileloaddt1, tilestored:
		in.dst = reg
		in.refuse(rm != 4, "the address has no SIB byte")
		in.refuse(vvvv != 0, "vvvv is used")
		in.refuse(r, "there are eight tiles")
	default:
		in.dst, in.src1, in.src2 = reg, rm, vvvv
		in.refuse(r || b || vvvv > 7, "there are eight tiles")
		in.refuse(reg == rm || reg == vvvv || rm == vvvv, "two operands are the same tile")
	}
	return in, true
}

func (in *instruction) refuse(when bool, why string) {
	if when && in.distorted == "" {
		in.distorted = why
	}
}

// address reads an operand in memory: the ModRM byte and what follows.
func (in *instruction) address(code []byte, x, b bool) bool {
	in.memory = true
	extend := func(n byte, high bool) int {
		if high {
			n += 8
		}
		return int(n)
	}
	mod, rm := code[0]>>6, code[0]&7
	code = code[1:]
	displacement := map[byte]int{0: 0, 1: 1, 2: 4}[mod]
	switch {
	case rm == 4:
		if len(code) == 0 {
			return false
		}
		sib := code[0]
		code = code[1:]
		in.length++
		in.scale = uint(sib >> 6)
		if in.index = extend(sib>>3&7, x); in.index == 4 {
			in.index = -1
		}
		if sib&7 == 5 && mod == 0 {
			displacement = 4
		} else {
			in.base = extend(sib&7, b)
		}
	case rm == 5 && mod == 0:
		in.relative, displacement = true, 4
	default:
		in.base = extend(rm, b)
	}
	if len(code) < displacement {
		return false
	}
	in.length += displacement
	switch displacement {
	case 1:
		in.disp = int64(int8(code[0]))
	case 4:
		in.disp = int64(int32(uint32(code[0]) | uint32(code[1])<<8 | uint32(code[2])<<16 | uint32(code[3])<<24))
	}
	return true
}
