package torchfile

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/gptctl/gptctl/internal/tensor"
)

// GlobalError says that a pickle asks for a Python function or class that no
// state dict needs. Such a file may be an attack; nothing of it was run.
type GlobalError struct {
	Module, Name string
}

func (e *GlobalError) Error() string {
	return fmt.Sprintf("asks for %s, which no state dict needs: refused, nothing of the file was run",
		quote(e.Module+"."+e.Name))
}

// global is a name that a pickle may import, and what it stands for here.
type global struct {
	module, name string
	kind         globalKind
	dtype        tensor.DType // of a storage
}

func (g *global) String() string { return g.module + "." + g.name }

type globalKind uint8

const (
	makesDict globalKind = iota + 1
	makesSize
	makesOpaque // takes anything, gives what nobody looks at
	makesTensor
	makesTensorV2
	makesParameter      // of a tensor, whether a gradient is wanted, hooks
	makesParameterState // and attributes
	makesTyped          // of a function above, a class, the function's arguments, attributes
	isClass             // Tensor, Parameter: an argument of makesTyped
	isStorage
	isDType
	unsupported // harmless, but not for this reader
)

// allowed is the whole of what a pickle may name. Read-only.
var allowed = map[string]globalKind{
	"collections.OrderedDict": makesDict,

	"torch._utils._rebuild_tensor":               makesTensor,
	"torch._utils._rebuild_tensor_v2":            makesTensorV2,
	"torch._utils._rebuild_parameter":            makesParameter,
	"torch._utils._rebuild_parameter_with_state": makesParameterState,
	"torch._tensor._rebuild_from_type_v2":        makesTyped,
	"torch.Tensor":                               isClass,
	"torch.nn.parameter.Parameter":               isClass,
	"torch.Size":                                 makesSize,
	"torch.device":                               makesOpaque,
	"torch.serialization._get_layout":            makesOpaque,

	"torch._utils._rebuild_tensor_v3":              unsupported,
	"torch._utils._rebuild_sparse_tensor":          unsupported,
	"torch._utils._rebuild_sparse_csr_tensor":      unsupported,
	"torch._utils._rebuild_nested_tensor":          unsupported,
	"torch._utils._rebuild_qtensor":                unsupported,
	"torch._utils._rebuild_meta_tensor_no_storage": unsupported,
}

// storages are the classes whose elements the engine's types cover. Read-only.
var storages = map[string]tensor.DType{
	"FloatStorage": tensor.F32, "HalfStorage": tensor.F16, "BFloat16Storage": tensor.BF16, "DoubleStorage": tensor.F64,
	"LongStorage": tensor.I64, "IntStorage": tensor.I32, "ShortStorage": tensor.I16, "CharStorage": tensor.I8,
	"ByteStorage": tensor.U8, "BoolStorage": tensor.Bool,
}

// unsupportedStorages are torch's other classes. Read-only.
var unsupportedStorages = map[string]bool{
	"ComplexFloatStorage": true, "ComplexDoubleStorage": true, "QInt8Storage": true, "QUInt8Storage": true,
	"QInt32Storage": true, "QUInt4x2Storage": true, "QUInt2x4Storage": true,
}

// dtypes are the names under which torch's element types are pickled. Read-only.
var dtypes = map[string]bool{
	"float32": true, "float16": true, "bfloat16": true, "float64": true,
	"int64": true, "int32": true, "int16": true, "int8": true, "uint8": true, "bool": true,
}

// lookup finds what a pickle imports. All it does not know is a *GlobalError.
func lookup(module, name string) (*global, error) {
	switch module { // Python 2's names, which protocol 2 uses
	case "__builtin__":
		module = "builtins"
	case "commands":
		module = "subprocess"
	}
	g := &global{module: module, name: name}
	switch module {
	case "torch", "torch.cuda":
		if g.dtype = storages[name]; g.dtype != tensor.Invalid {
			g.kind = isStorage
			return g, nil
		}
		if unsupportedStorages[name] {
			g.kind = unsupported
		}
		if module == "torch" && dtypes[name] {
			g.kind = isDType
			return g, nil
		}
	}
	if g.kind == 0 {
		g.kind = allowed[g.String()]
	}
	switch g.kind {
	case 0:
		return nil, &GlobalError{module, name}
	case unsupported:
		return nil, fmt.Errorf("holds a tensor of a kind that is not supported (%s)", g)
	}
	return g, nil
}

// storage is a block of elements in the file, as a pickle refers to it.
type storage struct {
	key   string
	dtype tensor.DType
	count int // elements
	data  []byte
}

// bytes is the storage's length, known to fit.
func (s *storage) bytes() int { return s.count * s.dtype.Size() }

// newStorage reads what stands for a storage in torch's pickles:
// ("storage", class, key, location, elements) and in the legacy format
// (…, view). The location, such as "cuda:0", does not matter. seen holds the
// storages met before.
func newStorage(id any, seen map[string]*storage) (*storage, error) {
	t, ok := id.(tuple)
	if !ok || len(t) < 5 || len(t) > 6 || t[0] != any("storage") {
		return nil, fmt.Errorf("a persistent id that does not describe a storage (%s)", describe(id))
	}
	class, ok1 := t[1].(*global)
	key, ok2 := t[2].(string)
	count, ok3 := t[4].(int64)
	if !ok1 || class.kind != isStorage || !ok2 || !ok3 {
		return nil, fmt.Errorf("a storage of class %s, key %s and length %s, want a storage class, a string and a number",
			describe(t[1]), describe(t[2]), describe(t[4]))
	}
	if len(t) == 6 && t[5] != any(none{}) {
		return nil, fmt.Errorf("storage %s is a view of another, as torch before 0.4 wrote them: not supported", quote(key))
	}
	if count < 0 || count > math.MaxInt/int64(class.dtype.Size()) {
		return nil, fmt.Errorf("storage %s claims %d elements", quote(key), count)
	}
	s := &storage{key: key, dtype: class.dtype, count: int(count)}
	if old := seen[key]; old != nil {
		if old.dtype != s.dtype || old.count != s.count {
			return nil, fmt.Errorf("storage %s is both %d elements of %v and %d of %v",
				quote(key), old.count, old.dtype, s.count, s.dtype)
		}
		return old, nil
	}
	seen[key] = s
	return s, nil
}

// rawTensor is a tensor as the pickle describes it: a strided view of a storage.
// offset and strides count elements. It lies within its storage.
type rawTensor struct {
	storage       *storage
	offset        int
	shape, stride []int
}

// construct is what a call of f with these arguments would make.
func (u *unpickler) construct(f, arguments any) (any, error) {
	g, ok := f.(*global)
	if !ok {
		return nil, fmt.Errorf("calls %s, want a function", describe(f))
	}
	args, ok := arguments.(tuple)
	if !ok {
		return nil, fmt.Errorf("calls %s with %s, want a tuple", g, describe(arguments))
	}
	wrong := func() (any, error) {
		return nil, fmt.Errorf("calls %s with %d arguments that do not suit it", g, len(args))
	}
	switch g.kind {
	case makesDict:
		switch len(args) {
		case 0:
			return &dict{}, nil
		case 1: // as Python 2 wrote it: a list of pairs
			if l, ok := args[0].(*list); ok {
				u.ops += len(l.items) // or a pickle could copy one list over and over
				return dictOfPairs(l)
			}
		}
		return wrong()
	case makesSize:
		if len(args) == 1 {
			if size, ok := args[0].(tuple); ok {
				return size, nil
			}
		}
		return wrong()
	case makesOpaque:
		return opaque{}, nil
	case makesTensor:
		if len(args) != 4 {
			return wrong()
		}
		return newTensor(args)
	case makesTensorV2: // storage, offset, size, stride, requires_grad, hooks[, metadata]
		if len(args) < 6 || len(args) > 7 {
			return wrong()
		}
		if len(args) == 7 && args[6] != any(none{}) {
			if flags, ok := args[6].(*dict); !ok || len(flags.pairs) > 0 {
				return nil, fmt.Errorf("a tensor that is marked as conjugated or negated: not supported")
			}
		}
		return newTensor(args[:4])
	case makesParameter, makesParameterState:
		if want := 3 + int(g.kind-makesParameter); len(args) != want {
			return wrong()
		}
		if t, ok := args[0].(*rawTensor); ok {
			return t, nil
		}
		return wrong()
	case makesTyped:
		if len(args) != 4 {
			return wrong()
		}
		inner, ok1 := args[0].(*global)
		class, ok2 := args[1].(*global)
		if !ok1 || inner.kind < makesTensor || inner.kind > makesParameterState || !ok2 || class.kind != isClass {
			return wrong()
		}
		return u.construct(inner, args[2])
	}
	return nil, fmt.Errorf("calls %s, which is not a function", g)
}

func dictOfPairs(l *list) (any, error) {
	d := &dict{}
	for _, item := range l.items {
		var kv []any
		switch item := item.(type) {
		case tuple:
			kv = item
		case *list:
			kv = item.items
		}
		if len(kv) != 2 {
			return nil, fmt.Errorf("an OrderedDict made of %s, want pairs", describe(item))
		}
		d.pairs = append(d.pairs, pair{kv[0], kv[1]})
	}
	return d, nil
}

// maxDims is more dimensions than any model's tensors have.
const maxDims = 32

// newTensor checks (storage, offset, size, stride).
func newTensor(args []any) (any, error) {
	s, ok1 := args[0].(*storage)
	offset, ok2 := args[1].(int64)
	size, ok3 := args[2].(tuple)
	stride, ok4 := args[3].(tuple)
	if !ok1 || !ok2 || !ok3 || !ok4 || len(size) != len(stride) || len(size) > maxDims {
		return nil, fmt.Errorf("a tensor made of %s, %s, %s and %s, want a storage, an offset, a size and a stride",
			describe(args[0]), describe(args[1]), describe(args[2]), describe(args[3]))
	}
	t := &rawTensor{storage: s, shape: make([]int, len(size)), stride: make([]int, len(size))}
	fail := func() (any, error) {
		return nil, fmt.Errorf("a tensor of size %v and stride %v at offset %d, which does not lie within its storage of %d elements",
			numbers(size), numbers(stride), offset, s.count)
	}
	count, last := uint64(1), uint64(offset) // elements; index of the last one
	ok := offset >= 0
	for i := range size {
		n, isInt1 := size[i].(int64)
		step, isInt2 := stride[i].(int64)
		if !isInt1 || !isInt2 || n < 0 || step < 0 {
			return fail()
		}
		t.shape[i], t.stride[i] = int(n), int(step)
		hi, lo := bits.Mul64(count, uint64(n))
		if hi != 0 || lo > math.MaxInt64/8 { // in bytes it must fit as well
			ok = false
		}
		count = lo
		hi, lo = bits.Mul64(uint64(max(n, 1)-1), uint64(step))
		sum, carry := bits.Add64(last, lo, 0)
		if hi != 0 || carry != 0 {
			ok = false
		}
		last = sum
	}
	for _, n := range t.shape {
		if n == 0 { // no element: nothing to lie anywhere
			return &rawTensor{storage: s, shape: t.shape, stride: t.stride}, nil
		}
	}
	if !ok || last >= uint64(s.count) || count > math.MaxInt/8 {
		return fail()
	}
	t.offset = int(offset)
	return t, nil
}

// numbers is the start of a tuple, for messages.
func numbers(t tuple) string {
	text := "("
	for i, v := range t {
		if i == 8 {
			return text + " …)"
		}
		if i > 0 {
			text += " "
		}
		text += describe(v)
	}
	return text + ")"
}
