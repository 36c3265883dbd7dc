package h1

// StatusText returns the reason phrase nginx writes, or "" for a status without one.
func StatusText(status int) string {
	switch status {
	case 100:
		return "Continue"
	case 101:
		return "Switching Protocols"
	case 102:
		return "Processing"
	case 103:
		return "Early Hints"
	}
	if status >= 200 && status-200 < len(statusText) {
		return statusText[status-200]
	}
	return ""
}

// compat: nginx's phrases where they differ from RFC 9110 ("Moved Temporarily", "Not Allowed").
var statusText = [...]string{
	0:   "OK",
	1:   "Created",
	2:   "Accepted",
	3:   "Non-Authoritative Information",
	4:   "No Content",
	5:   "Reset Content",
	6:   "Partial Content",
	7:   "Multi-Status",
	8:   "Already Reported",
	26:  "IM Used",
	100: "Multiple Choices",
	101: "Moved Permanently",
	102: "Moved Temporarily",
	103: "See Other",
	104: "Not Modified",
	105: "Use Proxy",
	107: "Temporary Redirect",
	108: "Permanent Redirect",
	200: "Bad Request",
	201: "Unauthorized",
	202: "Payment Required",
	203: "Forbidden",
	204: "Not Found",
	205: "Not Allowed",
	206: "Not Acceptable",
	207: "Proxy Authentication Required",
	208: "Request Time-out",
	209: "Conflict",
	210: "Gone",
	211: "Length Required",
	212: "Precondition Failed",
	213: "Request Entity Too Large",
	214: "Request-URI Too Large",
	215: "Unsupported Media Type",
	216: "Requested Range Not Satisfiable",
	217: "Expectation Failed",
	218: "I'm a teapot",
	221: "Misdirected Request",
	222: "Unprocessable Entity",
	223: "Locked",
	224: "Failed Dependency",
	225: "Too Early",
	226: "Upgrade Required",
	228: "Precondition Required",
	229: "Too Many Requests",
	231: "Request Header Fields Too Large",
	251: "Unavailable For Legal Reasons",
	300: "Internal Server Error",
	301: "Not Implemented",
	302: "Bad Gateway",
	303: "Service Temporarily Unavailable",
	304: "Gateway Time-out",
	305: "HTTP Version Not Supported",
	306: "Variant Also Negotiates",
	307: "Insufficient Storage",
	308: "Loop Detected",
	310: "Not Extended",
	311: "Network Authentication Required",
}
