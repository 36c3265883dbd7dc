package filter

import (
	"testing"

	"github.com/lintel-ingress/lintel/internal/exchange"
)

func TestHostOnlyTakesThePortOff(t *testing.T) {
	for in, want := range map[string]string{"a.example:80": "a.example", "a.example": "a.example", "[::1]:80": "[::1]", "[::1]": "[::1]", "": "", "[::1": "[::1"} {
		if got := HostOnly(in); got != want {
			t.Errorf("HostOnly(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestS13_1_LocationHoldsNoControlBytes(t *testing.T) {
	for in, want := range map[string]string{"/a\r\nX: y": "/a%0D%0AX:%20y", `https://a\evil`: "https://a%5Cevil", "/é?x=1#y": "/é?x=1#y"} {
		if got := SafeLocation(in); got != want {
			t.Errorf("SafeLocation(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestJoinedIsAllValuesAsOne(t *testing.T) {
	var f exchange.Fields
	f.Add("X-A", "1")
	f.Add("x-a", "2")
	f.Add("X-B", "3")
	if v, ok := Joined(&f, "X-A"); !ok || v != "1, 2" {
		t.Errorf("got %q, %v", v, ok)
	}
	if v, ok := Joined(&f, "X-B"); !ok || v != "3" {
		t.Errorf("got %q, %v", v, ok)
	}
	if _, ok := Joined(&f, "X-C"); ok {
		t.Error("an absent field is there")
	}
}

func TestSettledFieldsAreForgottenWithTheExchange(t *testing.T) {
	x := exchange.Acquire()
	for i := range 40 {
		Settle(x, string(rune('a'+i)))
	}
	if !Settled(x, "A") || !Settled(x, "z") || Settled(x, "none") {
		t.Error("settled names are lost, or too many")
	}
	x.Release()
	y := exchange.Acquire()
	defer y.Release()
	if Settled(y, "a") {
		t.Error("a name outlived its exchange")
	}
}
