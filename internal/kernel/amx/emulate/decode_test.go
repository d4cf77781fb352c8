package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// describe writes an instruction as binutils' objdump does, for comparison.
func describe(in instruction) string {
	names := []string{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}
	at := ""
	if in.memory {
		switch {
		case in.disp < 0:
			at = fmt.Sprintf("-%#x", -in.disp)
		case in.disp > 0:
			at = fmt.Sprintf("%#x", in.disp)
		}
		base, index := "", ""
		if in.relative {
			base = "%rip"
		} else if in.base >= 0 {
			base = "%" + names[in.base]
		}
		if in.index >= 0 {
			index = fmt.Sprintf(",%%%s,%d", names[in.index], 1<<in.scale)
		}
		at += "(" + base + index + ")"
	}
	switch in.op {
	case tilerelease:
		return string(in.op)
	case ldtilecfg, sttilecfg:
		return fmt.Sprintf("%s %s", in.op, at)
	case tilezero:
		return fmt.Sprintf("%s %%tmm%d", in.op, in.dst)
	case tileloadd, tileloaddt1:
		return fmt.Sprintf("%s %s,%%tmm%d", in.op, at, in.dst)
	case tilestored:
		return fmt.Sprintf("%s %%tmm%d,%s", in.op, in.dst, at)
	}
	return fmt.Sprintf("%s %%tmm%d,%%tmm%d,%%tmm%d", in.op, in.src2, in.src1, in.dst)
}

// The bytes are those that GNU as 2.40 makes of the text.
func TestDecode(t *testing.T) {
	for _, c := range [][2]string{
		{"c4 e2 78 49 00", "ldtilecfg (%rax)"},
		{"c4 e2 78 49 44 24 40", "ldtilecfg 0x40(%rsp)"},
		{"c4 82 78 49 44 f5 00", "ldtilecfg (%r13,%r14,8)"},
		{"c4 e2 78 49 05 34 12 00 00", "ldtilecfg 0x1234(%rip)"},
		{"c4 e2 79 49 03", "sttilecfg (%rbx)"},
		{"c4 e2 78 49 c0", "tilerelease"},
		{"c4 e2 7b 49 c0", "tilezero %tmm0"},
		{"c4 e2 7b 49 f8", "tilezero %tmm7"},
		{"c4 e2 7b 4b 24 16", "tileloadd (%rsi,%rdx,1),%tmm4"},
		{"c4 e2 7b 4b ac 16 00 04 00 00", "tileloadd 0x400(%rsi,%rdx,1),%tmm5"},
		{"c4 e2 7b 4b 34 17", "tileloadd (%rdi,%rdx,1),%tmm6"},
		{"c4 e2 7b 4b bc 17 00 04 00 00", "tileloadd 0x400(%rdi,%rdx,1),%tmm7"},
		{"c4 e2 7b 4b 34 13", "tileloadd (%rbx,%rdx,1),%tmm6"},
		{"c4 e2 7b 4b bc 13 00 04 00 00", "tileloadd 0x400(%rbx,%rdx,1),%tmm7"},
		{"c4 82 7b 4b 04 08", "tileloadd (%r8,%r9,1),%tmm0"},
		{"c4 82 7b 4b 4c 08 40", "tileloadd 0x40(%r8,%r9,1),%tmm1"},
		{"c4 82 7b 4b 14 0a", "tileloadd (%r10,%r9,1),%tmm2"},
		{"c4 82 7b 4b 5c 0a 40", "tileloadd 0x40(%r10,%r9,1),%tmm3"},
		{"c4 e2 7b 4b 5c 85 f8", "tileloadd -0x8(%rbp,%rax,4),%tmm3"},
		{"c4 82 7b 4b 0c 7c", "tileloadd (%r12,%r15,2),%tmm1"},
		{"c4 e2 7b 4b 14 cd 00 01 00 00", "tileloadd 0x100(,%rcx,8),%tmm2"},
		{"c4 e2 79 4b 24 16", "tileloaddt1 (%rsi,%rdx,1),%tmm4"},
		{"c4 82 7a 4b 04 23", "tilestored %tmm0,(%r11,%r12,1)"},
		{"c4 82 7a 4b 14 22", "tilestored %tmm2,(%r10,%r12,1)"},
		{"c4 82 7a 4b 5c 22 40", "tilestored %tmm3,0x40(%r10,%r12,1)"},
		{"c4 82 7a 4b 4c 23 40", "tilestored %tmm1,0x40(%r11,%r12,1)"},
		{"c4 82 7a 4b 94 23 00 08 00 00", "tilestored %tmm2,0x800(%r11,%r12,1)"},
		{"c4 82 7a 4b 9c 23 40 08 00 00", "tilestored %tmm3,0x840(%r11,%r12,1)"},
		{"c4 e2 4a 5c c4", "tdpbf16ps %tmm6,%tmm4,%tmm0"},
		{"c4 e2 42 5c cc", "tdpbf16ps %tmm7,%tmm4,%tmm1"},
		{"c4 e2 4a 5c d5", "tdpbf16ps %tmm6,%tmm5,%tmm2"},
		{"c4 e2 42 5c dd", "tdpbf16ps %tmm7,%tmm5,%tmm3"},
		{"c4 e2 4a 5c d4", "tdpbf16ps %tmm6,%tmm4,%tmm2"},
		{"c4 e2 42 5c dc", "tdpbf16ps %tmm7,%tmm4,%tmm3"},
		{"c4 e2 4b 5e c4", "tdpbssd %tmm6,%tmm4,%tmm0"},
		{"c4 e2 43 5e cc", "tdpbssd %tmm7,%tmm4,%tmm1"},
		{"c4 e2 4b 5e d5", "tdpbssd %tmm6,%tmm5,%tmm2"},
		{"c4 e2 43 5e dd", "tdpbssd %tmm7,%tmm5,%tmm3"},
		{"c4 e2 72 5e da", "tdpbsud %tmm1,%tmm2,%tmm3"},
		{"c4 e2 71 5e da", "tdpbusd %tmm1,%tmm2,%tmm3"},
		{"c4 e2 70 5e da", "tdpbuud %tmm1,%tmm2,%tmm3"},
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(c[0], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		in, ok := decode(append(b, 0xc3))
		if !ok || in.length != len(b) || in.distorted != "" {
			t.Errorf("%s (%s): %v, length %d, %s", c[1], c[0], ok, in.length, in.distorted)
			continue
		}
		if got := describe(in); got != c[1] {
			t.Errorf("%s: got %s, want %s", c[0], got, c[1])
		}
		for n := range b {
			if in, ok := decode(b[:n]); ok {
				t.Errorf("%s: the first %d bytes are %s", c[1], n, describe(in))
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ code, want string }{
		{"0f0b9090909090", ""},                        // ud2
		{"c4e27b4b0416", "tileloadd"},                 // fine
		{"c4e1784900", ""},                            // another map
		{"c4e2f84900", ""},                            // W
		{"c4e27c4900", ""},                            // L
		{"c4e24a5cc6", "two operands"},                // tmm6 twice
		{"c4e2725cc1", "two operands"},                // tmm1 twice
		{"c4e27b4b06", "no SIB"},                      // (rsi)
		{"c4627b4b0416", "eight tiles"},               // tmm8
		{"c4e2734b0416", "vvvv"},                      // an operand too many
		{"c4e27b49c1", "the operand field"},           // tilezero
		{"c4e2784908", "the register field"},          // ldtilecfg
		{"c4e27849c1", "the operand fields are used"}, // tilerelease
	} {
		b, err := hex.DecodeString(c.code)
		if err != nil {
			t.Fatal(err)
		}
		in, ok := decode(append(b, 0, 0, 0, 0))
		switch {
		case c.want == "" && ok:
			t.Errorf("%s is %s", c.code, describe(in))
		case c.want == "tileloadd" && (!ok || in.distorted != ""):
			t.Errorf("%s: %v %s", c.code, ok, in.distorted)
		case c.want != "" && c.want != "tileloadd" && (!ok || !strings.Contains(in.distorted, c.want)):
			t.Errorf("%s: %v %q, want %q", c.code, ok, in.distorted, c.want)
		}
	}
}
