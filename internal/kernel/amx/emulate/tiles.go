package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

const (
	tileCount = 8
	tileRows  = 16
	rowBytes  = 64
)

// memory is what loads and stores reach.
type memory interface {
	read(p []byte, address uint64) error
	write(address uint64, p []byte) error
}

// tiles is the AMX state of one thread: palette 1, or nothing.
type tiles struct {
	configured bool
	startRow   byte
	rows       [tileCount]int
	bytes      [tileCount]int // of a row
	data       [tileCount][tileRows][rowBytes]byte
}

// execute performs an instruction as Intel's manual describes it. address is
// that of its operand in memory without the index, stride the index shifted. An
// error is what would be a fault.
func (t *tiles) execute(in instruction, m memory, address, stride uint64) error {
	if in.distorted != "" {
		return errors.New(in.distorted)
	}
	switch in.op {
	case ldtilecfg:
		var b [64]byte
		if err := m.read(b[:], address+stride); err != nil {
			return err
		}
		return t.configure(b)
	case sttilecfg:
		b := t.configuration()
		return m.write(address+stride, b[:])
	case tilerelease:
		*t = tiles{}
		return nil
	}
	if !t.configured {
		return errors.New("tiles are not configured")
	}
	for _, i := range []int{in.dst, in.src1, in.src2} {
		if i >= 0 && t.rows[i] == 0 {
			return fmt.Errorf("tile %d is not configured", i)
		}
	}
	switch in.op {
	case tilezero:
		t.data[in.dst] = [tileRows][rowBytes]byte{}
	case tileloadd, tileloaddt1:
		var rows [tileRows][rowBytes]byte
		for r := range t.rows[in.dst] {
			if err := m.read(rows[r][:t.bytes[in.dst]], address+uint64(r)*stride); err != nil {
				return err
			}
		}
		t.data[in.dst] = rows
	case tilestored:
		for r := range t.rows[in.dst] {
			if err := m.write(address+uint64(r)*stride, t.data[in.dst][r][:t.bytes[in.dst]]); err != nil {
				return err
			}
		}
	default:
		return t.product(in)
	}
	t.startRow = 0
	return nil
}

func (t *tiles) configure(b [64]byte) error {
	switch b[0] {
	case 0:
		*t = tiles{}
		return nil
	case 1:
	default:
		return fmt.Errorf("palette %d does not exist", b[0])
	}
	n := tiles{configured: true, startRow: b[1]}
	for i := 2; i < 64; i++ {
		reserved := i < 16 || i >= 16+2*tileCount && i < 48 || i >= 48+tileCount
		if reserved && b[i] != 0 {
			return fmt.Errorf("byte %d of the configuration is reserved", i)
		}
	}
	for i := range tileCount {
		n.bytes[i], n.rows[i] = int(binary.LittleEndian.Uint16(b[16+2*i:])), int(b[48+i])
		if n.bytes[i] > rowBytes || n.rows[i] > tileRows || (n.bytes[i] == 0) != (n.rows[i] == 0) {
			return fmt.Errorf("tile %d of %d rows of %d bytes", i, n.rows[i], n.bytes[i])
		}
	}
	*t = n
	return nil
}

func (t *tiles) configuration() (b [64]byte) {
	if !t.configured {
		return b
	}
	b[0], b[1] = 1, t.startRow
	for i := range tileCount {
		binary.LittleEndian.PutUint16(b[16+2*i:], uint16(t.bytes[i]))
		b[48+i] = byte(t.rows[i])
	}
	return b
}

// product is dst += src1·src2, in groups of four bytes.
func (t *tiles) product(in instruction) error {
	c, a, b := in.dst, in.src1, in.src2
	switch {
	case t.bytes[a]%4 != 0 || t.bytes[b]%4 != 0 || t.bytes[c]%4 != 0:
		return errors.New("rows are not of whole groups of four bytes")
	case t.rows[c] != t.rows[a] || t.bytes[c] != t.bytes[b] || t.bytes[a]/4 != t.rows[b]:
		return fmt.Errorf("%d×%d of %d×%d and %d×%d do not fit", t.rows[c], t.bytes[c]/4, t.rows[a], t.bytes[a]/4, t.rows[b], t.bytes[b]/4)
	}
	for m := range t.rows[c] {
		if in.op == tdpbf16ps {
			t.floatRow(m, c, a, b)
		} else {
			t.byteRow(in.op, m, c, a, b)
		}
	}
	for m := t.rows[c]; m < tileRows; m++ {
		t.data[c][m] = [rowBytes]byte{}
	}
	t.startRow = 0
	return nil
}

func (t *tiles) floatRow(m, c, a, b int) {
	var sums [2 * rowBytes / 4]float32
	n := t.bytes[c] / 4
	for k := range t.bytes[a] / 4 {
		a0, a1 := bfloat16(t.data[a][m][4*k:]), bfloat16(t.data[a][m][4*k+2:])
		row := &t.data[b][k]
		for j := range n {
			sums[2*j] = multiplyAdd(a0, bfloat16(row[4*j:]), sums[2*j])
			sums[2*j+1] = multiplyAdd(a1, bfloat16(row[4*j+2:]), sums[2*j+1])
		}
	}
	row := &t.data[c][m]
	for j := range n {
		both := flush(sums[2*j] + sums[2*j+1])
		old := flush(math.Float32frombits(binary.LittleEndian.Uint32(row[4*j:])))
		binary.LittleEndian.PutUint32(row[4*j:], math.Float32bits(flush(old+both)))
	}
}

func bfloat16(b []byte) float32 {
	return flush(math.Float32frombits(uint32(b[0])<<16 | uint32(b[1])<<24))
}

const smallest = 0x1p-126 // normal number

// flush makes subnormal numbers zero, as results and operands are.
func flush(f float32) float32 {
	if f < smallest && f > -smallest {
		return f * 0
	}
	return f
}

// multiplyAdd rounds a·b+c once. The product of two bfloat16 is exact in
// float32, unless it is too small or too large for that.
func multiplyAdd(a, b, c float32) float32 {
	p := float32(a * b)
	if (p < smallest && p > -smallest || math.IsInf(float64(p), 0)) && a != 0 && b != 0 {
		return flush(float32(float64(a)*float64(b) + float64(c)))
	}
	return flush(p + c)
}

func (t *tiles) byteRow(op operation, m, c, a, b int) {
	value := func(v byte, signed bool) int32 {
		if signed {
			return int32(int8(v))
		}
		return int32(v)
	}
	signedA, signedB := op == tdpbssd || op == tdpbsud, op == tdpbssd || op == tdpbusd
	row := &t.data[c][m]
	for j := range t.bytes[c] / 4 {
		sum := int32(binary.LittleEndian.Uint32(row[4*j:]))
		for k := range t.bytes[a] / 4 {
			for i := range 4 {
				sum += value(t.data[a][m][4*k+i], signedA) * value(t.data[b][k][4*j+i], signedB)
			}
		}
		binary.LittleEndian.PutUint32(row[4*j:], uint32(sum))
	}
}
