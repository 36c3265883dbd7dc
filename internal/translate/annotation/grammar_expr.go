package annotation

import (
	"github.com/lintel-ingress/lintel/internal/expr"
)

// Expr makes a grammar take text with $variables: what g accepts, if every variable is known.
func Expr(g Grammar[string]) Grammar[string] {
	return MapText(g, g.Syntax, func(s string) (string, error) {
		_, err := expr.Parse(s)
		return s, err
	})
}
