//go:build amd64 && !noasm && !asamd

package kernel

import "encoding/binary"

// vendor is the processor's maker as it names itself, in twelve letters.
func vendor() string {
	b, d, c := cpuid0()
	var s [12]byte
	binary.LittleEndian.PutUint32(s[0:], b)
	binary.LittleEndian.PutUint32(s[4:], d)
	binary.LittleEndian.PutUint32(s[8:], c)
	return string(s[:])
}
