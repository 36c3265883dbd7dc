package echo

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAnswerShowsTheRequestAndObeysItsParameters(t *testing.T) {
	srv := httptest.NewServer(Handler("pod-1"))
	defer srv.Close()
	r, err := http.Get(srv.URL + "/a//b?status=418&size=10")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var a Answer
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != 418 || a.Pod != "pod-1" || a.Path != "/a//b?status=418&size=10" || len(a.Padding) != 10 {
		t.Errorf("got %d %+v", r.StatusCode, a)
	}
}
