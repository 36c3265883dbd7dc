// Package parity compares lintel with what the real ingress-nginx answered.
//
// testdata/cases holds suites: one configuration of a controller with many small
// cases, each some Ingresses and the requests sent to them. testdata/golden holds
// what ingress-nginx v1.15.1 answered, and what its endpoints received. The test starts a
// controller on a suite's objects, repeats the requests, and prints what differs.
//
// intended.yaml is the one place for differences that are meant, and for the
// cases that are still to be done. Nothing else may differ.
//
// What a reader gets wrong: addresses. The record was taken on 10.99.0.x; as root
// the test makes itself a network namespace with these addresses and the ports 80 and 443.
// Elsewhere it uses 127.99.0.x and free ports, and reads the record accordingly.
package parity

import (
	"net"
	"strings"
)

// Place is where everything of a run stands: the addresses and ports in use.
type Place struct {
	// Private is true in a network namespace of our own, with the recorded addresses.
	Private     bool
	HTTP, HTTPS int // the candidate's ports
	Healthz     int
}

// names are the addresses as the record has them.
var names = map[string]string{
	"A_IP": "10.99.0.1", "DEAD": "10.99.0.2",
	"ECHO1": "10.99.0.11", "ECHO2": "10.99.0.12", "ECHO3": "10.99.0.13",
	"AUTH": "10.99.0.31", "ERRS": "10.99.0.32", "MIRROR": "10.99.0.41",
	"DNS": "10.99.0.53", "CTL": "10.99.0.60", "CLIENT": "10.99.0.101", "CLIENT2": "10.99.0.102",
	"VIP": "10.98.0.111",
}

// Addr returns the address of a party (ECHO1, CLIENT, ...).
func (p *Place) Addr(name string) string { return p.translate(names[name]) }

// translate turns recorded addresses in text into those of this run.
func (p *Place) translate(text string) string {
	if p.Private {
		return text
	}
	return loopback.Replace(text)
}

var loopback = strings.NewReplacer("10.99.0.", "127.99.0.", "10.98.0.", "127.98.0.")

// expand fills in ${NAME}.
func (p *Place) expand(text string) string {
	var pairs []string
	for name, addr := range names {
		pairs = append(pairs, "${"+name+"}", p.translate(addr))
	}
	return p.translate(strings.NewReplacer(append(pairs, "${NONCE}", nonce)...).Replace(text))
}

// nonce stands for text that must differ between runs.
const nonce = "n0nce5a7e"

// partyOf returns the name, in lower case, of the party at an address.
func (p *Place) partyOf(ip string) string {
	if ip == p.Addr("VIP") {
		return "echo1" // stands for that Service's own address
	}
	for name := range names {
		if p.Addr(name) == ip {
			return strings.ToLower(name)
		}
	}
	return ip
}

// LoopbackPlace returns a place on 127.99.0.x with free ports.
func LoopbackPlace() (*Place, error) {
	p := &Place{}
	for _, port := range []*int{&p.HTTP, &p.HTTPS, &p.Healthz} {
		l, err := net.Listen("tcp", ":0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // keeps the next one from getting the same port
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return p, nil
}
