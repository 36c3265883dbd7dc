package parity

import (
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

var clusterNames = map[string]string{
	"auth.diff.svc.cluster.local.":  "AUTH",
	"errs.diff.svc.cluster.local.":  "ERRS",
	"echo1.diff.svc.cluster.local.": "ECHO1",
}

// resolve answers one DNS question; nil for what is none.
func (b *Backends) resolve(question []byte) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(question)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	name := strings.ToLower(q.Name.String())
	party := clusterNames[name]
	if label, ok := strings.CutSuffix(name, ".ext.test."); ok {
		party = strings.ToUpper(label)
	}
	ip, known := netip.Addr{}, false
	if _, ok := names[party]; ok {
		ip, known = netip.MustParseAddr(b.place.Addr(party)), true
	}
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: head.ID, Response: true, Authoritative: true,
			RecursionDesired: head.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{q},
	}
	switch {
	case !known:
		reply.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		reply.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 5},
			Body:   &dnsmessage.AResource{A: ip.As4()},
		}}
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}
