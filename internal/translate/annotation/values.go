package annotation

import "maps"

// Same reports whether two sets of values mean the same wherever the ConfigMap says the same: a
// value is a function of its text, so equal texts of the same readable keys are enough. nil is
// the same as nil only.
func (v *Values) Same(o *Values) bool {
	if v == nil || o == nil {
		return v == o
	}
	if !maps.Equal(v.raw, o.raw) || len(v.parsed) != len(o.parsed) {
		return false
	}
	for k := range v.parsed {
		if _, ok := o.parsed[k]; !ok {
			return false
		}
	}
	return true
}
