package hubtest

import (
	"encoding/json"
	"net/http"
	"strings"
)

const controlPrefix = "/_hubtest/"

// control lets other processes do what tests do in Go (Options.Control):
// GET log, POST faults (a JSON list of Fault), POST clear, forget or expire.
func (s *Server) control(w http.ResponseWriter, r *http.Request) {
	var faults []Fault
	what := strings.TrimPrefix(r.URL.Path, controlPrefix)
	if what != "log" && r.Method != http.MethodPost {
		http.Error(w, "POST only", http.StatusMethodNotAllowed)
		return
	}
	switch what {
	case "log":
		now, peak, accepted := s.Connections()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"requests": s.Requests(), "bytes": s.BytesOf(""), "open": now, "peak": peak, "accepted": accepted,
			"tokens": map[string][]string{"hub": s.Tokens("hub"), "cdn": s.Tokens("cdn"), "foreign": s.Tokens("foreign")},
		})
		return
	case "faults":
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
		d.DisallowUnknownFields()
		if err := d.Decode(&faults); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.Inject(faults...)
	case "clear":
		s.ClearFaults()
	case "forget":
		s.Forget()
	case "expire":
		s.ExpireURLs()
	default:
		http.NotFound(w, r)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
