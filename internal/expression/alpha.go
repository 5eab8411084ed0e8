package expression

import (
	"fmt"
	"strings"
)

// Alpha158 is the list of Qlib's Alpha158, as pyqlib 0.9.7 has it, in its order and by its
// names. $vwap is the typical price.
func Alpha158() []Named {
	list := []Named{
		{"KMID", "($close-$open)/$open"},
		{"KLEN", "($high-$low)/$open"},
		{"KMID2", "($close-$open)/($high-$low+1e-12)"},
		{"KUP", "($high-Greater($open, $close))/$open"},
		{"KUP2", "($high-Greater($open, $close))/($high-$low+1e-12)"},
		{"KLOW", "(Less($open, $close)-$low)/$open"},
		{"KLOW2", "(Less($open, $close)-$low)/($high-$low+1e-12)"},
		{"KSFT", "(2*$close-$high-$low)/$open"},
		{"KSFT2", "(2*$close-$high-$low)/($high-$low+1e-12)"},
		{"OPEN0", "$open/$close"},
		{"HIGH0", "$high/$close"},
		{"LOW0", "$low/$close"},
		{"VWAP0", "$vwap/$close"},
	}
	for _, f := range []Named{
		{"ROC", "Ref($close, N)/$close"},
		{"MA", "Mean($close, N)/$close"},
		{"STD", "Std($close, N)/$close"},
		{"BETA", "Slope($close, N)/$close"},
		{"RSQR", "Rsquare($close, N)"},
		{"RESI", "Resi($close, N)/$close"},
		{"MAX", "Max($high, N)/$close"},
		{"MIN", "Min($low, N)/$close"},
		{"QTLU", "Quantile($close, N, 0.8)/$close"},
		{"QTLD", "Quantile($close, N, 0.2)/$close"},
		{"RANK", "Rank($close, N)"},
		{"RSV", "($close-Min($low, N))/(Max($high, N)-Min($low, N)+1e-12)"},
		{"IMAX", "IdxMax($high, N)/N"},
		{"IMIN", "IdxMin($low, N)/N"},
		{"IMXD", "(IdxMax($high, N)-IdxMin($low, N))/N"},
		{"CORR", "Corr($close, Log($volume+1), N)"},
		{"CORD", "Corr($close/Ref($close,1), Log($volume/Ref($volume, 1)+1), N)"},
		{"CNTP", "Mean($close>Ref($close, 1), N)"},
		{"CNTN", "Mean($close<Ref($close, 1), N)"},
		{"CNTD", "Mean($close>Ref($close, 1), N)-Mean($close<Ref($close, 1), N)"},
		{"SUMP", "Sum(Greater($close-Ref($close, 1), 0), N)/(Sum(Abs($close-Ref($close, 1)), N)+1e-12)"},
		{"SUMN", "Sum(Greater(Ref($close, 1)-$close, 0), N)/(Sum(Abs($close-Ref($close, 1)), N)+1e-12)"},
		{"SUMD", "(Sum(Greater($close-Ref($close, 1), 0), N)-Sum(Greater(Ref($close, 1)-$close, 0), N))/(Sum(Abs($close-Ref($close, 1)), N)+1e-12)"},
		{"VMA", "Mean($volume, N)/($volume+1e-12)"},
		{"VSTD", "Std($volume, N)/($volume+1e-12)"},
		{"WVMA", "Std(Abs($close/Ref($close, 1)-1)*$volume, N)/(Mean(Abs($close/Ref($close, 1)-1)*$volume, N)+1e-12)"},
		{"VSUMP", "Sum(Greater($volume-Ref($volume, 1), 0), N)/(Sum(Abs($volume-Ref($volume, 1)), N)+1e-12)"},
		{"VSUMN", "Sum(Greater(Ref($volume, 1)-$volume, 0), N)/(Sum(Abs($volume-Ref($volume, 1)), N)+1e-12)"},
		{"VSUMD", "(Sum(Greater($volume-Ref($volume, 1), 0), N)-Sum(Greater(Ref($volume, 1)-$volume, 0), N))/(Sum(Abs($volume-Ref($volume, 1)), N)+1e-12)"},
	} {
		for _, n := range []string{"5", "10", "20", "30", "60"} {
			list = append(list, Named{f.Name + n, strings.ReplaceAll(f.Text, "N", n)})
		}
	}
	return list
}

// Alpha360 is the list of Qlib's Alpha360: the last 60 bars over the newest one. $vwap is
// the typical price.
func Alpha360() []Named {
	var list []Named
	for _, f := range []struct{ name, newest string }{
		{"close", "$close"}, {"open", "$close"}, {"high", "$close"}, {"low", "$close"}, {"vwap", "$close"}, {"volume", "($volume+1e-12)"},
	} {
		for i := 59; i >= 0; i-- {
			text := fmt.Sprintf("Ref($%s, %d)/%s", f.name, i, f.newest)
			if i == 0 {
				text = fmt.Sprintf("$%s/%s", f.name, f.newest)
			}
			list = append(list, Named{fmt.Sprintf("%s%d", strings.ToUpper(f.name), i), text})
		}
	}
	return list
}
