package expr

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

// stamp holds the texts of one second; log lines of a busy second share them.
type stamp struct {
	second     int64
	local, iso string
}

var lastStamp atomic.Pointer[stamp]

func stampOf(t time.Time) *stamp {
	s := lastStamp.Load()
	if s != nil && s.second == t.Unix() {
		return s
	}
	l := t.Local()
	s = &stamp{
		second: t.Unix(),
		local:  l.Format("02/Jan/2006:15:04:05 -0700"),
		iso:    l.Format("2006-01-02T15:04:05-07:00"),
	}
	lastStamp.Store(s)
	return s
}

// when is the moment a variable of time tells: the end of a finished exchange, else now.
func when(x *exchange.Exchange) time.Time {
	if x.Stats.Duration > 0 {
		return x.Stats.Start.Add(x.Stats.Duration)
	}
	return time.Now()
}

// appendSeconds appends d as seconds with three decimals.
func appendSeconds(dst []byte, d time.Duration) []byte {
	ms := max(d.Milliseconds(), 0)
	return appendMillis(dst, ms)
}

func appendMillis(dst []byte, ms int64) []byte {
	dst = strconv.AppendInt(dst, ms/1000, 10)
	ms %= 1000
	return append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}
