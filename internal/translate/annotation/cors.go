package annotation

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/lintel-ingress/lintel/internal/diag"
	"github.com/lintel-ingress/lintel/internal/filter/cors"
)

const (
	corsMethods = "GET, PUT, POST, DELETE, PATCH, OPTIONS"
	corsHeaders = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"
)

var enableCORS = Declare(Spec[bool]{
	Name:     "enable-cors",
	Grammar:  Bool,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether lintel sends the Access-Control fields and answers preflight requests. OPTIONS requests whose Origin matches get 204 before authentication and never reach the endpoint.",
	Examples: []string{"true"},
})

// The patterns of the original: the list as a whole, then each item.
var (
	corsOriginItem = regexp.MustCompile(`\A(?:[a-z]+://(?:\*\.)?[A-Za-z0-9\-.]+(?::\d+)?|\*|null)\z`)
	corsOriginList = regexp.MustCompile(`\A(?:(?:(?:[a-z]+://)?(?:\*\.)?[A-Za-z0-9\-.]*(?::\d+)?|\*),?)*\z`)
	corsMethodList = regexp.MustCompile(`\A(?:[A-Za-z]+,?\s?)+\z`)
	corsExposeList = regexp.MustCompile(`\A(?:(?:[A-Za-z0-9\-_]+|\*),?\s?)+\z`)
)

// origins is a list of origins, and the items of it that are none.
type origins struct {
	list, bad []string
}

func (o origins) String() string { return strings.Join(o.list, ",") }

var corsAllowOrigin = Declare(Spec[origins]{
	Name: "cors-allow-origin",
	Grammar: Grammar[origins]{
		Syntax: "*, or origins (https://example.com:8443, https://*.example.com) separated by commas",
		Parse: func(s string) (origins, error) {
			if !corsOriginList.MatchString(noSpaces(s)) {
				return origins{}, ErrSyntax
			}
			var o origins
			for _, item := range strings.Split(s, ",") {
				switch item = strings.TrimSpace(item); {
				case item == "":
				case corsOriginItem.MatchString(item):
					o.list = append(o.list, item)
				default:
					o.bad = append(o.bad, item)
				}
			}
			return o, nil
		},
	},
	Default:  origins{list: []string{"*"}},
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Which origins may read responses: *, or a list. Comparison is without case, the port must be equal, and *. stands for exactly one label. A * anywhere makes the whole list *; with * the answer is literally *, for requests without Origin, too.",
	Examples: []string{"https://app.example.com", "https://*.example.com, https://example.org:8443"},
})

var corsAllowMethods = Declare(Spec[string]{
	Name:     "cors-allow-methods",
	Grammar:  matching(corsMethodList, "methods separated by commas"),
	Default:  corsMethods,
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The value of Access-Control-Allow-Methods.",
	Examples: []string{"GET, PUT"},
})

var corsAllowHeaders = Declare(Spec[string]{
	Name:     "cors-allow-headers",
	Grammar:  NamesList,
	Default:  corsHeaders,
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The value of Access-Control-Allow-Headers. * is not possible here.",
	Examples: []string{"X-Requested-With, Content-Type"},
})

var corsExposeHeaders = Declare(Spec[string]{
	Name:     "cors-expose-headers",
	Grammar:  matching(corsExposeList, "names of header fields, or *, separated by commas"),
	Risk:     Medium,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The value of Access-Control-Expose-Headers; the field is not sent without it.",
	Examples: []string{"X-Total-Count"},
})

var corsCredentials = Declare(Spec[bool]{
	Name:     "cors-allow-credentials",
	Grammar:  Bool,
	Default:  true,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "Whether Access-Control-Allow-Credentials: true is sent.",
	Examples: []string{"false"},
})

var corsMaxAge = Declare(Spec[int]{
	Name:     "cors-max-age",
	Grammar:  Int(math.MinInt, math.MaxInt),
	Default:  1728000,
	Risk:     Low,
	Bad:      Soft,
	Since:    "0.1",
	Doc:      "The value of Access-Control-Max-Age in seconds.",
	Examples: []string{"600"},
})

// matching is a grammar of the texts a pattern matches as a whole.
func matching(re *regexp.Regexp, syntax string) Grammar[string] {
	return Grammar[string]{
		Syntax: syntax,
		Parse: func(s string) (string, error) {
			if !re.MatchString(s) {
				return "", ErrSyntax
			}
			return s, nil
		},
	}
}

var _ = register(Feature{
	Name:  "cors",
	Title: "Cross-origin requests",
	Keys:  []AnyKey{enableCORS, corsAllowOrigin, corsAllowMethods, corsAllowHeaders, corsExposeHeaders, corsCredentials, corsMaxAge},
	Route: func(c *RouteContext) {
		if on, _ := enableCORS.Get(c.Values); !on {
			return
		}
		allow, _ := corsAllowOrigin.Get(c.Values)
		for _, b := range allow.bad {
			c.Report("cors-allow-origin", diag.Diagnostic{
				Code: diag.AnnotationValue, Severity: diag.Warning, Effect: diag.Ignored, Value: b,
				Message: fmt.Sprintf("%s is not an origin and is left out", Quote(b)),
				Hint:    "write scheme and host, with the port where it is not the scheme's own: https://example.com:8443",
			})
		}
		cfg := cors.Config{}
		for _, o := range allow.list {
			if o == "*" {
				cfg.Any = true
			}
		}
		if !cfg.Any {
			cfg.Origins = allow.list
		}
		cfg.Methods, _ = corsAllowMethods.Get(c.Values)
		cfg.Headers, _ = corsAllowHeaders.Get(c.Values)
		cfg.Expose, _ = corsExposeHeaders.Get(c.Values)
		cfg.Credentials, _ = corsCredentials.Get(c.Values)
		age, _ := corsMaxAge.Get(c.Values)
		cfg.MaxAge = strconv.Itoa(age)
		if cfg.Any || len(cfg.Origins) > 0 {
			c.Add(cfg)
		}
	},
})
