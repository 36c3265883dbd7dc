package expr

import (
	"strings"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// own are the variables filters set while an exchange runs: nginx's set and auth_request_set.
type own struct{ list []ownVar }

type ownVar struct{ name, value string }

var ownSlot = exchange.NewSlot[own]()

// ValidName reports whether name, without "$", can be a variable's.
func ValidName(name string) bool {
	for i := 0; i < len(name); i++ {
		if !isNameByte(name[i]) {
			return false
		}
	}
	return name != "" && (name[0] < '0' || name[0] > '9')
}

// SetOwn gives the variable name a value for the rest of x. name is lower case and lives as long as the
// configuration.
func SetOwn(x *exchange.Exchange, name, value string) {
	o := ownSlot.Of(x)
	for i := range o.list {
		if o.list[i].name == name {
			o.list[i].value = value
			return
		}
	}
	o.list = append(o.list, ownVar{name, value})
}

// Own is for Options.Extra: variables SetOwn gives a value. One that was not set is absent.
func Own(name string) (Func, bool) {
	name = strings.ToLower(name)
	if !ValidName(name) {
		return nil, false
	}
	return func(dst []byte, x *exchange.Exchange) ([]byte, bool) {
		if o := ownSlot.Peek(x); o != nil {
			for i := range o.list {
				if o.list[i].name == name {
					return append(dst, o.list[i].value...), true
				}
			}
		}
		return dst, false
	}, true
}

// Known reports whether name, without "$", is a variable that exists without being set.
func Known(name string) bool {
	p := new(Program)
	_, ok := p.lookup(name, nil)
	return ok
}
