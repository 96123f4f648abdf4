--- Types of the certificates/v1 API: see sandbox/kubernetes/schema/init.lua for the notation.
return [[
CertificateSigningRequest: 1 metadata meta.ObjectMeta; 2 spec CertificateSigningRequestSpec !;
  3 status CertificateSigningRequestStatus
CertificateSigningRequestCondition: 1 type string !; 6 status string !; 2 reason string; 3 message string;
  4 lastUpdateTime time; 5 lastTransitionTime time
CertificateSigningRequestSpec: 1 request bytes !; 7 signerName string !; 8 expirationSeconds int; 5 usages []string;
  2 username string; 3 uid string; 4 groups []string; 6 extra {}[]string
CertificateSigningRequestStatus: 1 conditions []CertificateSigningRequestCondition map=type; 2 certificate bytes
]]
