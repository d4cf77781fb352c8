package torchfile

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The legacy format begins with these, each a pickle of its own.
const (
	legacyMagic    = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" // 0x1950a86a20f9469cfc6c
	legacyProtocol = 1001
)

// parseLegacy reads the format before torch 1.6, and of
// torch.save(_use_new_zipfile_serialization=False): pickles of a magic number, a
// version, facts about the machine, the object and the list of storage keys,
// then for each key the number of elements (8 bytes) and the elements.
func parseLegacy(data []byte) (any, error) {
	next := func(what string, persistent func(any) (any, error)) (any, error) {
		v, n, err := unpickle(data, persistent)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		data = data[n:]
		return v, nil
	}
	magic, err := next("magic number", nil)
	if err != nil {
		return nil, err
	}
	if m, ok := magic.(bigInt); !ok || string(m) != legacyMagic {
		return nil, fmt.Errorf("is a pickle of %s without torch's magic number: not written by torch.save", describe(magic))
	}
	version, err := next("format version", nil)
	if err != nil {
		return nil, err
	}
	if version != any(int64(legacyProtocol)) {
		return nil, fmt.Errorf("format version %s, want %d", describe(version), legacyProtocol)
	}
	system, err := next("machine facts", nil)
	if err != nil {
		return nil, err
	}
	if facts, ok := system.(*dict); !ok || facts.get("little_endian") != any(true) {
		return nil, fmt.Errorf("was written on a machine that is not little-endian")
	}

	seen := map[string]*storage{}
	value, err := next("state dict", func(id any) (any, error) { return newStorage(id, seen) })
	if err != nil {
		return nil, err
	}
	keys, err := next("storage keys", nil)
	if err != nil {
		return nil, err
	}
	order, ok := keys.(*list)
	if !ok {
		return nil, fmt.Errorf("storage keys: %s, want a list", describe(keys))
	}
	for _, k := range order.items {
		key, _ := k.(string)
		s := seen[key]
		if s == nil {
			return nil, fmt.Errorf("storage key %s belongs to no tensor, or comes twice", describe(k))
		}
		delete(seen, key)
		if len(data) < 8 {
			return nil, fmt.Errorf("storage %s is missing: the file is truncated or damaged", quote(key))
		}
		if n := binary.LittleEndian.Uint64(data); n != uint64(s.count) {
			return nil, fmt.Errorf("storage %s has %d elements, want %d", quote(key), n, s.count)
		}
		data = data[8:]
		if s.bytes() > len(data) {
			return nil, fmt.Errorf("storage %s takes %d bytes, but %d are left: the file is truncated or damaged", quote(key), s.bytes(), len(data))
		}
		s.data, data = data[:s.bytes():s.bytes()], data[s.bytes():]
	}
	if len(seen) > 0 {
		return nil, fmt.Errorf("storage %s has no data in the file", quote(slices.Min(slices.Collect(maps.Keys(seen)))))
	}
	return value, nil
}

// isTar recognises torch's first format, of 2016: a tar archive.
func isTar(data []byte) bool {
	return len(data) >= 512 && strings.HasPrefix(string(data[257:262]), "ustar")
}
