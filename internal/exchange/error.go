package exchange

import (
	"errors"
	"fmt"
)

// Side says whose fault a failure is.
type Side uint8

// The sides.
const (
	SideSelf Side = iota
	SideClient
	SideUpstream
)

// Stage says where in an exchange something failed.
type Stage uint8

// The stages, in order.
const (
	StageDial Stage = iota
	StageTLS
	StageWriteRequest
	StageReadHead
	StageReadBody
	StageWriteResponse
)

var stageNames = [...]string{"dial", "tls", "write request", "read head", "read body", "write response"}

func (s Stage) String() string { return stageNames[s] }

// Error says where in an exchange something failed.
type Error struct {
	Side    Side
	Stage   Stage
	Reused  bool // on a connection that had served before
	Sent    bool // request bytes may have arrived
	Timeout bool // a deadline passed
	Invalid bool // the peer's message was malformed (proxy-next-upstream invalid_header)
	Err     error
}

func (e *Error) Error() string {
	side := "lintel"
	switch e.Side {
	case SideClient:
		side = "client"
	case SideUpstream:
		side = "upstream"
	}
	return fmt.Sprintf("%s: %s: %v", side, e.Stage, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// What reading a request body may fail with, besides errors of the connection.
var (
	ErrBodyTooLarge = errors.New("request body exceeds proxy-body-size")
	ErrBodyTimeout  = errors.New("client sent no body data within client-body-timeout")
	ErrBodyFraming  = errors.New("request body is not framed as RFC 9112 demands")
	ErrClientGone   = errors.New("client closed the connection")
)
