package fit

// piece is the memory of internal/cpu that small matrices share.
const piece = 64 << 20

// panelsFrom is the size from which internal/cpu lays a matrix of floats out in panels.
const panelsFrom = 1 << 20

// parameters counts the numbers of a model: biases and norms, the position
// embedding, and the matrices with token embedding and head.
func parameters(w Work) (vectors, positions, rest int64) {
	c := w.Config
	embd, inner, layers := int64(c.Embd), int64(c.Inner), int64(c.Layers)
	vectors = sum(product(layers, 9*embd+inner), 2*embd)
	positions = product(int64(c.Positions), embd)
	rest = product(int64(c.VocabSize), embd)
	if !c.TieWordEmbeddings {
		rest = product(2, rest)
	}
	for _, m := range matrices(c) {
		rest = sum(rest, product(layers, int64(m.in), int64(m.out)))
	}
	return vectors, positions, rest
}

// held is a matrix, or a table, as internal/cpu has it.
type held struct {
	bytes  int64
	copied bool // not where it lies in the file
}

// weights are the parameters as they lie in memory.
func weights(w Work) int64 {
	vectors, _, _ := parameters(w)
	total := product(4, vectors)
	layers := int64(w.Config.Layers)
	tables, layer := matricesHeld(w)
	for _, m := range tables {
		total = sum(total, m.bytes)
	}
	for _, m := range layer {
		total = sum(total, product(layers, m.bytes))
	}
	return total
}

// matricesHeld are the tables and the head, and the matrices of a layer, in the order in
// which they are read.
func matricesHeld(w Work) (tables, layer []held) {
	c := w.Config
	token := matrixHeld(w, c.Embd, c.VocabSize, true)
	position := held{w.FileDType.bytes(product(int64(c.Positions), int64(c.Embd))), !w.FileMapped || w.Copied}
	if quantised(w.FileDType) { // these are not
		position.bytes = product(4, int64(c.Positions), int64(c.Embd))
	}
	tables = []held{token, position}
	if !c.TieWordEmbeddings {
		tables = append(tables, token)
	}
	for _, m := range matrices(c) {
		layer = append(layer, matrixHeld(w, m.in, m.out, w.GGUF))
	}
	return tables, layer
}

// matrixHeld follows LoadMatrix of internal/cpu.
func matrixHeld(w Work, in, out int, outMajor bool) held {
	i, o, want := int64(in), int64(out), w.DType
	if quantised(want) && in%32 != 0 {
		want = w.FileDType
	}
	plain := want.bytes(product(i, o))
	switch {
	case w.Device == CUDA:
		return held{plain, true}
	case quantised(want):
		return held{product(roundUp(o, 16), want.bytes(i)), true}
	case (want == BF16 || want == F16) && w.Kernels.Tiles && !exact(w):
		return held{tiles(o, i), true}
	case (want != F32 || w.DType == F32 && (!w.AsIs || later(w))) && !outMajor && plain >= panelsFrom:
		return held{want.bytes(product(roundUp(o, panelCols), i)), true}
	}
	rounded := want == F16 && w.Kernels.Pairs && !exact(w) // to bfloat16
	return held{plain, want != w.FileDType || rounded || later(w) && want == F32 && plain >= panelsFrom}
}

// later reports whether matrices are used where they lie in the file at first, and copied
// while a text is continued.
func later(w Work) bool {
	return w.FileMapped && !w.Copied && w.Device == CPU && w.DType == w.FileDType && !quantised(w.DType) && w.Purpose != Finetune
}

// twice is what is in memory both in the file and as a copy, at most: a part of a matrix.
func twice(w Work) (most int64) {
	if !later(w) {
		return 0
	}
	tables, layer := matricesHeld(w)
	for _, m := range append(layer, tables[0]) {
		if m.copied {
			most = max(most, min(m.bytes, w.FileDType.bytes(takePart)))
		}
	}
	return most
}

// convertPart is how many numbers internal/cpu converts at a time, takePart how many it
// copies.
const convertPart, takePart = 4 << 20, 1 << 20

// loading is the most memory that weights take while they are converted: those that are
// read, and of the file a matrix, or, of one by its outputs, a part of it.
func loading(w Work) (most int64) {
	if w.Device != CPU || w.FileMapped || w.Purpose == Finetune {
		return 0
	}
	const part = convertPart
	done := int64(0)
	read := func(m held, numbers int64, outMajor bool) {
		if outMajor && numbers > part { // the last whole part; what is left takes less
			before := numbers / part * part
			most = max(most, sum(done, int64(float64(m.bytes)*float64(before)/float64(numbers)), w.FileDType.bytes(part)))
			numbers -= before
		}
		done = sum(done, m.bytes)
		most = max(most, sum(done, w.FileDType.bytes(numbers)))
	}
	tables, layer := matricesHeld(w)
	embd := int64(w.Config.Embd)
	for i, m := range tables {
		rows := w.Config.VocabSize
		if i == 1 {
			rows = w.Config.Positions
		}
		read(m, product(int64(rows), embd), true)
	}
	for range min(w.Config.Layers, maxLayers) {
		for i, m := range matrices(w.Config) {
			read(layer[i], product(int64(m.in), int64(m.out)), w.GGUF)
		}
	}
	return most
}

// maxLayers bounds what is looked at of a hostile configuration.
const maxLayers = 1 << 10

// gaps is what the memory of weights that are not used in place has beside them: they
// lie one after the other in pieces, of which each ends with a whole page.
func gaps(w Work) (total int64) {
	if w.Device != CPU {
		return 0
	}
	p := pieces{size: piece}
	if w.Purpose == Finetune {
		trainedTensors(w, p.take)
		m := training(w)
		work := sum(m.Activations, m.Logits)
		p.wasted = sum(p.wasted, hugePages(work)-work)
	} else if !later(w) { // these share one
		tables, layer := matricesHeld(w)
		each := func(list []held) {
			for _, m := range list {
				if m.copied {
					p.take(m.bytes, 1)
				}
			}
		}
		each(tables)
		for range min(w.Config.Layers, maxLayers) {
			each(layer)
		}
	}
	return p.end()
}

// pieces follows the allocation of internal/cpu: in pieces of a size, or larger where one
// tensor is. taken is what was asked for, wasted what is on its pages beside it.
type pieces struct{ size, used, free, taken, wasted int64 }

// take has so many tensors of so many bytes follow each other.
func (p *pieces) take(bytes int64, tensors int) {
	for range tensors {
		p.taken = sum(p.taken, bytes)
		switch n := roundUp(bytes, 64); {
		case bytes <= p.free:
			p.used, p.free = p.used+n, max(0, p.free-n)
		case bytes >= p.size:
			p.wasted = sum(p.wasted, wholePages(bytes)-bytes)
		default:
			p.wasted = sum(p.wasted, wholePages(p.used)-p.used)
			p.used, p.free = n, p.size-n
		}
	}
}

func (p *pieces) end() int64 { return sum(p.wasted, wholePages(p.used)-p.used) }
