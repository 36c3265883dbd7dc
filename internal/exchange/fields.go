package exchange

import "iter"

// Field is one header or trailer field.
type Field struct {
	Name, Value string
}

// Fields is an ordered list of fields; names keep their case and compare
// without it. The zero value is an empty list. Not safe for concurrent use.
type Fields struct {
	list []Field
}

// EqualFold reports whether two field names are the same, comparing ASCII letters without case.
func EqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if x != y {
			x |= 0x20
			if x != y|0x20 || x < 'a' || x > 'z' {
				return false
			}
		}
	}
	return true
}

// Len returns the number of fields.
func (f *Fields) Len() int { return len(f.list) }

// At returns the field at index i.
func (f *Fields) At(i int) Field { return f.list[i] }

// Get returns the first value of name, or "".
func (f *Fields) Get(name string) string {
	for i := range f.list {
		if EqualFold(f.list[i].Name, name) {
			return f.list[i].Value
		}
	}
	return ""
}

// Lookup returns the first value of name and whether there is one.
func (f *Fields) Lookup(name string) (string, bool) {
	for i := range f.list {
		if EqualFold(f.list[i].Name, name) {
			return f.list[i].Value, true
		}
	}
	return "", false
}

// Has reports whether a field called name is there.
func (f *Fields) Has(name string) bool {
	_, ok := f.Lookup(name)
	return ok
}

// Count returns how many fields are called name.
func (f *Fields) Count(name string) int {
	n := 0
	for i := range f.list {
		if EqualFold(f.list[i].Name, name) {
			n++
		}
	}
	return n
}

// Values iterates over the values of name in order.
func (f *Fields) Values(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range f.list {
			if EqualFold(f.list[i].Name, name) && !yield(f.list[i].Value) {
				return
			}
		}
	}
}

// Set makes value the only one of name. It takes the place of the first, or the end.
func (f *Fields) Set(name, value string) {
	for i := range f.list {
		if EqualFold(f.list[i].Name, name) {
			f.list[i] = Field{name, value}
			f.delFrom(i+1, name)
			return
		}
	}
	f.list = append(f.list, Field{name, value})
}

// Add appends a field.
func (f *Fields) Add(name, value string) { f.list = append(f.list, Field{name, value}) }

// Del removes every field called name.
func (f *Fields) Del(name string) { f.delFrom(0, name) }

func (f *Fields) delFrom(from int, name string) {
	w := from
	for i := from; i < len(f.list); i++ {
		if !EqualFold(f.list[i].Name, name) {
			if w != i {
				f.list[w] = f.list[i]
			}
			w++
		}
	}
	clear(f.list[w:])
	f.list = f.list[:w]
}

// DelFunc removes every field for which drop returns true.
func (f *Fields) DelFunc(drop func(name, value string) bool) {
	w := 0
	for i := range f.list {
		if !drop(f.list[i].Name, f.list[i].Value) {
			if w != i {
				f.list[w] = f.list[i]
			}
			w++
		}
	}
	clear(f.list[w:])
	f.list = f.list[:w]
}

// All iterates over the fields in order. The list must not change meanwhile.
func (f *Fields) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := range f.list {
			if !yield(f.list[i].Name, f.list[i].Value) {
				return
			}
		}
	}
}

// CopyFrom makes f hold what src holds.
func (f *Fields) CopyFrom(src *Fields) {
	clear(f.list)
	f.list = append(f.list[:0], src.list...)
}

// Reset empties the list and keeps its memory.
func (f *Fields) Reset() {
	clear(f.list)
	f.list = f.list[:0]
}
