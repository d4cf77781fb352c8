package torchfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// p2 is a pickle of protocol 2.
func p2(parts ...string) string { return "\x80\x02" + strings.Join(parts, "") + "." }

// storageOf pushes storage 0 of the class with so many elements (below 256).
func storageOf(class string, count byte) string {
	return "(X\x07\x00\x00\x00storagectorch\n" + class + "\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK" + string([]byte{count}) + "tQ"
}

// number pushes an int64.
func number(n int64) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

// tensorOf pushes a tensor on storage 0, which is FloatStorage of 6.
func tensorOf(offset int64, size, stride string) string {
	return "ctorch._utils\n_rebuild_tensor_v2\n(" + storageOf("FloatStorage", 6) + number(offset) +
		"(" + size + "t(" + stride + "t\x89}tR"
}

// run unpickles with storages of any kind, without data.
func run(data string) (any, error) {
	seen := map[string]*storage{}
	v, _, err := unpickle([]byte(data), func(id any) (any, error) { return newStorage(id, seen) })
	return v, err
}

func TestUnpickle(t *testing.T) {
	for data, want := range map[string]any{
		p2("N"):                                        none{},
		p2("\x88"):                                     true,
		p2("J\xff\xff\xff\xff"):                        int64(-1),
		p2("K\xff"):                                    int64(255),
		p2("M\x00\x80"):                                int64(32768),
		p2("\x8a\x00"):                                 int64(0),
		p2("\x8a\x01\xfe"):                             int64(-2),
		p2("\x8a\x02\xff\x00"):                         int64(255),
		p2("\x8b\x03\x00\x00\x00\x00\x00\x01"):         int64(65536),
		p2("G\x3f\xf8\x00\x00\x00\x00\x00\x00"):        1.5,
		p2("X\x02\x00\x00\x00\xc3\xa9"):                "é",
		p2("U\x02ab"):                                  "ab", // Python 2
		p2("T\x02\x00\x00\x00ab"):                      "ab",
		p2("\x8c\x01a"):                                "a",
		p2("\x8d\x01\x00\x00\x00\x00\x00\x00\x00a"):    "a",
		p2("K\x010K\x02"):                              int64(2),
		p2("K\x01(K\x021"):                             int64(1),
		p2("K\x01(0"):                                  int64(1), // POP takes the mark
		p2("K\x05q\x070h\x07"):                         int64(5),
		p2("K\x05r\x00\x00\x00\xff0j\x00\x00\x00\xff"): int64(5),
		p2("K\x05\x94K\x06\x940" + "0h\x00"):           int64(5),
		"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00K\x01.": int64(1),
	} {
		if got, err := run(data); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", data, got, err, want)
		}
	}
	// An OrderedDict as Python 2 wrote it, with a list of pairs.
	got, err := run(p2("ccollections\nOrderedDict\n(](](U\x01aK\x01e](U\x01bK\x02eetR"))
	if d, ok := got.(*dict); err != nil || !ok || d.get("b") != any(int64(2)) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestUnpickleRefuses(t *testing.T) {
	huge := int64(1) << 62
	for _, c := range []struct{ name, data, words string }{
		{"nothing", "", "truncated"},
		{"no stop", "\x80\x02N", "truncated"},
		{"protocol 0", "I1\n.", "'I'"},
		{"protocol 9", "\x80\x09N.", "protocol 9"},
		{"empty stack at stop", p2(), "0 values"},
		{"two values at stop", p2("NN"), "2 values"},
		{"mark at stop", p2("(N"), "1 marks"},
		{"underflow of tuple", p2("N\x87"), "stack"},
		{"underflow of pop", p2("0"), "stack"},
		{"underflow of dup", p2("2"), "stack"},
		{"underflow of put", p2("q\x00"), "stack"},
		{"underflow below a mark", p2("N(\x85"), "stack"},
		{"underflow of reduce", p2("ccollections\nOrderedDict\nR"), "stack"},
		{"underflow of build", p2("Nb"), "stack"},
		{"underflow of setitem", p2("}Ns"), "stack"},
		{"underflow of persistent id", p2("Q"), "stack"},
		{"no mark for tuple", p2("t"), "mark"},
		{"no mark for appends", p2("]e"), "mark"},
		{"no list under the mark", p2("(e"), "stack"},
		{"unknown memo", p2("h\x09"), "memo 9"},
		{"append to a dict", p2("}Na"), "want a list"},
		{"item of a list", p2("]NNs"), "want a dict"},
		{"key without value", p2("}(Nu"), "keys and values"},
		{"items of no set", p2("](N\x90"), "want a set"},
		{"huge text", p2("X\xff\xff\xff\xffa"), "4294967295 bytes"},
		{"huge text of 8-byte length", p2("\x8d\xff\xff\xff\xff\xff\xff\xff\xffa"), "truncated"},
		{"huge bytes", p2("B\x00\x00\x00\x80a"), "truncated"},
		{"LONG4 giant", p2("\x8b\xff\xff\xff\x7f\x00"), "2147483647 bytes"},
		{"LONG4 negative", p2("\x8b\xff\xff\xff\xff\x00"), "truncated"},
		{"name without end", p2("cos"), "without an end"},
		{"os.system", p2("cos\nsystem\n(X\x02\x00\x00\x00lstR"), `"os.system"`},
		{"builtins.eval of Python 2", p2("c__builtin__\neval\n"), `"builtins.eval"`},
		{"dotted name", p2("ctorch\n_utils.os.system\n"), `"torch._utils.os.system"`},
		{"name split elsewhere", "\x80\x04\x8c\x0ctorch._utils\x8c\x10sys.modules.x\x0a\x0d\x1b\x93.", "which no state dict needs"},
		{"torch.os", p2("ctorch\nos\n"), `"torch.os"`},
		{"module in the name's half", p2("c\ncollections.OrderedDict\n"), "which no state dict needs"},
		{"stack global of numbers", "\x80\x04K\x01K\x02\x93.", "want two strings"},
		{"INST", p2("(ios\nsystem\n"), "'i'"},
		{"OBJ", p2("(o"), "'o'"},
		{"NEWOBJ_EX", p2("N)}\x92"), "0x92"},
		{"EXT1", p2("\x82\x01"), "0x82"},
		{"text persistent id", p2("P0\n"), "'P'"},
		{"out-of-band buffer", "\x80\x05\x97.", "0x97"},
		{"call of a string", p2("U\x01a)R"), `calls "a"`},
		{"call of a storage class", p2("ctorch\nFloatStorage\n)R"), "not a function"},
		{"call of a storage", p2(storageOf("FloatStorage", 1), ")R"), "calls a storage"},
		{"call of a dtype", p2("ctorch\nfloat32\n)R"), "not a function"},
		{"call of Tensor", p2("ctorch\nTensor\n)R"), "not a function"},
		{"call without a tuple", p2("ccollections\nOrderedDict\nNR"), "want a tuple"},
		{"OrderedDict of a number", p2("ccollections\nOrderedDict\nK\x01\x85R"), "do not suit"},
		{"OrderedDict of no pairs", p2("ccollections\nOrderedDict\n](K\x01e\x85R"), "want pairs"},
		{"parameter of nothing", p2("ctorch._utils\n_rebuild_parameter\n)R"), "do not suit"},
		{"parameter of a dict", p2("ctorch._utils\n_rebuild_parameter\n}\x88}\x87R"), "do not suit"},
		{"typed tensor by itself", p2("ctorch._tensor\n_rebuild_from_type_v2\nq\x00(h\x00ctorch\nTensor\n)}tR"), "do not suit"},
		{"typed tensor by a dict", p2("ctorch._tensor\n_rebuild_from_type_v2\n(ccollections\nOrderedDict\nctorch\nTensor\n)}tR"), "do not suit"},
		{"state of a list", p2("]}b"), "want an OrderedDict"},
		{"state of a global", p2("ctorch\nTensor\n}b"), "want an OrderedDict"},
		{"persistent id of a module", p2("(U\x06moduleNNNNtQ"), "does not describe a storage"},
		{"persistent id of nothing", p2(")Q"), "does not describe a storage"},
		{"storage of no class", p2("(U\x07storageNU\x010U\x03cpuK\x01tQ"), "want a storage class"},
		{"storage of a function", p2("(U\x07storageccollections\nOrderedDict\nU\x010U\x03cpuK\x01tQ"), "want a storage class"},
		{"storage of negative length", p2("(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu", number(-1), "tQ"), "claims -1"},
		{"storage beyond memory", p2("(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu", number(huge), "tQ"), "claims"},
		{"storage that is a view", p2("(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01U\x01v\x85tQ"), "view"},
		{"storage of two types", p2(storageOf("FloatStorage", 2), "0", storageOf("HalfStorage", 4)), "is both"},
		{"untyped storage", p2("ctorch.storage\nUntypedStorage\n"), "torch.storage.UntypedStorage"},
		{"tensor beyond its storage", p2(tensorOf(1, "K\x06", "K\x01")), "does not lie within its storage of 6"},
		{"tensor at a negative offset", p2(tensorOf(-1, "K\x01", "K\x01")), "does not lie within"},
		{"tensor at a huge offset", p2(tensorOf(huge*2-1, "K\x01", "K\x01")), "does not lie within"},
		{"tensor of negative size", p2(tensorOf(0, number(-1), "K\x01")), "does not lie within"},
		{"tensor of negative stride", p2(tensorOf(5, "K\x02", number(-1))), "does not lie within"},
		{"tensor of too many elements", p2(tensorOf(0, number(huge)+number(huge), "K\x00K\x00")), "does not lie within"},
		{"tensor of 2^62 elements", p2(tensorOf(0, number(huge), "K\x00")), "does not lie within"},
		{"tensor with wrapping extent", p2(tensorOf(1, "K\x02K\x02", number(-1)+number(1))), "does not lie within"},
		{"tensor with wrapping stride", p2(tensorOf(0, "K\x05", number(huge))), "does not lie within"},
		{"tensor of text", p2(tensorOf(0, "U\x01a", "K\x01")), "does not lie within"},
		{"tensor of more sizes than strides", p2(tensorOf(0, "K\x01K\x01", "K\x01")), "want a storage"},
		{"tensor of too many dimensions", p2(tensorOf(0, strings.Repeat("K\x01", 33), strings.Repeat("K\x01", 33))), "want a storage"},
		{"tensor without a storage", p2("ctorch._utils\n_rebuild_tensor\n(NNNNtR"), "want a storage"},
		{"long pickle", "\x80\x02B" + string(binary.LittleEndian.AppendUint32(nil, 20<<20)) + strings.Repeat("x", 20<<20) + ".", "longer than"},
		{"many operations", p2(strings.Repeat("N0", maxOps/2)), "operations"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := run(c.data)
			checkError(t, err, c.words)
		})
	}
	if _, _, err := unpickle([]byte(p2("K\x01Q")), nil); err == nil {
		t.Error("a persistent id is accepted where none may be")
	}
	var foreign *GlobalError
	if _, err := run(p2("cnt\nsystem\n")); !errors.As(err, &foreign) || *foreign != (GlobalError{"nt", "system"}) {
		t.Errorf("%v, want a GlobalError for nt.system", err)
	}
}

// Small pickles that would grow large, or take long, in a careless reader.
func TestBombs(t *testing.T) {
	laughs := "]" // each list holds the one before ten times
	for range 60 {
		laughs += "q\x000](" + strings.Repeat("h\x00", 10) + "e"
	}
	pairs := strings.Repeat("](NNe", maxOps/12)
	for name, data := range map[string]string{
		"billion laughs":             laughs,
		"list in itself":             "]q\x00h\x00a",
		"dict in itself":             "}q\x00h\x00h\x00s",
		"deep tuples":                "N" + strings.Repeat("\x85", maxOps/2),
		"deep lists":                 strings.Repeat("](", maxOps/4) + strings.Repeat("e", maxOps/4),
		"deep marks":                 strings.Repeat("(", maxOps/2),
		"wide stack":                 strings.Repeat("N", maxOps-4),
		"memo of everything":         "N" + strings.Repeat("\x94", maxOps/2),
		"one list copied many times": "ccollections\nOrderedDict\nq\x01](" + pairs + "e\x85q\x02" + strings.Repeat("0h\x01h\x02R", maxOps/40),
		"long text from the memo":    "X\x00\x00\x10\x00" + strings.Repeat("x", 1<<20) + "q\x00(" + strings.Repeat("h\x00", maxOps/2) + "t",
		"many tensors":               tensorOf(0, strings.Repeat("K\x01", 32), strings.Repeat("K\x01", 32)) + "0ctorch._utils\n_rebuild_tensor\nq\x01(" + storageOf("FloatStorage", 6) + "K\x00(" + strings.Repeat("K\x01", 32) + "t2tq\x02" + strings.Repeat("h\x01h\x02R", maxOps/4),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			v, err := run(p2(data))
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > 200<<20 {
				t.Errorf("takes %d MB (%s, %v)", got>>20, describe(v), err)
			}
			if err != nil && len(err.Error()) > 400 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
		})
	}
}

func FuzzUnpickle(f *testing.F) {
	for _, name := range []string{"state.bin", "state-protocol4.bin", "wrapped-model.bin", "parameters.bin", "refused/nested-reduce.bin"} {
		entries, err := zipEntries(read(f, name))
		if err != nil {
			f.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.name, "/data.pkl") {
				f.Add(read(f, name)[e.begin:e.end])
			}
		}
	}
	f.Add([]byte(p2(tensorOf(0, "K\x02K\x03", "K\x01K\x02"))))
	f.Add([]byte(p2("ccollections\nOrderedDict\n(](](U\x01aK\x01e](U\x01bK\x02eetR")))
	f.Fuzz(func(t *testing.T, data []byte) {
		seen := map[string]*storage{}
		v, n, err := unpickle(data, func(id any) (any, error) { return newStorage(id, seen) })
		if err != nil {
			checkError(t, err, "pickle")
			return
		}
		if n <= 0 || n > len(data) {
			t.Fatalf("%d of %d bytes", n, len(data))
		}
		// Reading again what was read gives the same.
		again, m, err := unpickle(data[:n], func(id any) (any, error) { return newStorage(id, map[string]*storage{}) })
		if err == nil && (m != n || fmt.Sprintf("%T", v) != fmt.Sprintf("%T", again)) {
			t.Fatalf("%T of %d bytes, then %T of %d", v, n, again, m)
		}
	})
}
